//! Large frames, on one thread and on two.

use std::sync::Arc;
use std::time::Instant;

use chancery_audit::disk::Disk;
use chancery_audit::partner::{PARTNER_RECORDS_MIN, Partner, Placed, finish};
use chancery_audit::wal::{Chain, Tail, Wal, WalError};
use chancery_log::Frontier;

use super::genuine::{Maker, NOW, boot};
use super::life::{origin, sign};
use super::model::{Extent, Fault, Image, Model};

/// The bytes of a segment: room for all frames here.
const SEGMENT_BYTES: u64 = 4 << 20;

/// Input and output error (errno(3)).
const EIO: i32 = 5;

fn partner() -> Partner {
    let (partner, jobs) = Partner::new();
    std::thread::spawn(move || jobs.into_iter().for_each(|job| job()));
    partner
}

/// A log in which nothing stands.
struct Log {
    model: Model,
    wal: Wal,
    chain: Chain,
    maker: Maker,
}

impl Log {
    fn begin() -> Self {
        let model = Model::of(&Image::default());
        let disk: Arc<dyn Disk> = Arc::new(model.clone());
        let tail = Tail {
            incarnation: 0,
            next_frame: 0,
            previous_hash: [0; 32],
            frontier: Frontier::new(),
            last_head: None,
            next_segment: 0,
        };
        let log_id = origin().log_id;
        let wal = Wal::begin(disk, log_id, SEGMENT_BYTES, &tail).unwrap();
        let chain = Chain::resume(&tail, log_id, boot(9).boot_nonce, [0; 64]);
        Self { model, wal, chain, maker: Maker::of(boot(9)) }
    }

    fn write(&mut self, records: usize, partner: &Partner) -> Result<(), WalError> {
        let placed: Vec<Placed> = (0..records).map(|_| self.maker.placed()).collect();
        let begun = self.chain.begin((finish(placed, partner), NOW), partner);
        let apart = (partner, Instant::now as fn() -> Instant);
        let (_, made) =
            self.wal.write_while(&begun, apart, || (begun.hash(), sign(begun.head())))?;
        let composed = self.chain.complete(begun, made.0);
        self.chain.signed(made.1);
        self.chain.reuse(composed.encoded.bytes);
        partner.discard(composed.frame);
        Ok(())
    }
}

#[test]
fn every_bit_of_a_log_is_the_same_whoever_hashed_and_wrote_it() {
    let written = |partner: &Partner| {
        let mut log = Log::begin();
        let least = PARTNER_RECORDS_MIN;
        for records in [3, least, least - 1, 2 * least + 77, 1, least + 1] {
            log.write(records, partner).unwrap();
        }
        (log.model.image(), log.chain.frontier().clone())
    };
    let alone = written(&Partner::none());
    assert!(written(&partner()) == alone, "the logs differ");
}

#[test]
fn a_frame_whose_write_or_sync_failed_is_not_acknowledged_whoever_wrote_it() {
    for partner in [partner(), Partner::none()] {
        for behind in 1..=2 {
            let mut log = Log::begin();
            log.write(PARTNER_RECORDS_MIN, &partner).unwrap();
            log.model.fail(Fault {
                call: log.model.calls() + behind,
                errno: EIO,
                extent: Extent::Nothing,
            });
            let refused = log.write(PARTNER_RECORDS_MIN, &partner);
            assert!(matches!(refused, Err(WalError::Failed(_))), "call {behind}");
        }
    }
}
