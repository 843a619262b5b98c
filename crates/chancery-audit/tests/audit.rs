//! The audit stream from outside: crashes, failing disks, altered files, receipts, and a second
//! implementation of every format.

#[cfg(test)]
mod audit {
    mod budget;
    mod crash;
    mod damage;
    mod errors;
    mod genuine;
    mod journal;
    mod life;
    #[expect(
        dead_code,
        reason = "shared with the crash suite over real processes, which needs more"
    )]
    mod model;
    mod pages;
    mod partner;
    mod planned;
    mod pruned;
    mod published;
    mod receipts;
    mod repacked;
    #[expect(
        dead_code,
        reason = "shared with the crash suite over real processes, which needs more"
    )]
    mod replay;
    mod salvage;
    mod second;
    mod vectors;
    mod wrong;
}
