//! Logs with records of a real sealer, and the keys that open them.

use std::sync::Arc;
use std::time::Instant;

use chancery_audit::disk::Disk;
use chancery_audit::frame::{Frame, Item};
use chancery_audit::origin::{ORIGIN_FILE, Origin};
use chancery_audit::partner::{Partner, Placed, finish};
use chancery_audit::record::{BuildGroup, Counted, Facts, Kind};
use chancery_audit::recovery::{settle, walk};
use chancery_audit::sealer::{Kept, Keyring, MonthKeys, MonthSecrets, Sealer, month_of};
use chancery_audit::wal::{Chain, Wal, prepare_spare};
use chancery_core::clock::{Quality, Reading, Served};
use chancery_core::id::{HandleId, KeyId, OperationId, PrincipalId, TenantId};
use chancery_core::reason::Reason;
use chancery_crypto::section::Boot;
use chancery_log::Hash;

use super::life::{origin, sign};

pub(super) const NOW: u64 = 1_800_000_000_000;
pub(super) const TENANT: TenantId = TenantId::from_bytes([1; 16]);
pub(super) const KEY: KeyId = KeyId::from_bytes([7; 16]);

pub(super) const SECRETS: [[u8; 32]; 5] = [[1; 32], [2; 32], [3; 32], [4; 32], [5; 32]];

pub(super) fn boot(nonce: u8) -> Boot {
    Boot { log_id: origin().log_id, boot_nonce: [nonce; 16] }
}

pub(super) fn keys(boot: Boot) -> MonthKeys {
    MonthKeys::derive(&MonthSecrets::from_bytes(SECRETS.as_flattened()).unwrap(), boot).unwrap()
}

/// What makes records in turn: uses, refused uses, uses with a kept answer, commands.
pub(super) struct Maker {
    sealer: Sealer,
    made: u64,
    uses: u64,
    commands: u64,
}

impl Maker {
    pub(super) fn of(boot: Boot) -> Self {
        let keyring = Keyring::default();
        keyring.insert(TENANT, month_of(NOW), keys(boot));
        let build = BuildGroup { build: [6; 32], configuration: [8; 32] };
        let sealer = Sealer::new(Arc::new(keyring), boot, 3, build);
        Self { sealer, made: 0, uses: 0, commands: 0 }
    }

    pub(super) fn records(&mut self, count: usize) -> Vec<(Item, Hash)> {
        (0..count).map(|_| self.record()).collect()
    }

    fn record(&mut self) -> (Item, Hash) {
        finish(vec![self.placed()], &Partner::none()).remove(0)
    }

    /// The next record, not hashed yet.
    pub(super) fn placed(&mut self) -> Placed {
        let turn = self.made % 4;
        self.made += 1;
        let facts = self.facts(turn);
        let answer = Kept { name: [11; 32], digest: [12; 32], id_ms: NOW, answer: b"answer" };
        let kept = (turn == 2).then_some(&answer);
        let prepared = self.sealer.prepare(&facts, kept).unwrap();
        let use_index = (facts.counted == Counted::Yes).then_some(self.uses);
        self.uses += u64::from(use_index.is_some());
        let command = if turn == 3 { self.commands + 1 } else { 0 };
        self.commands = self.commands.max(command);
        Placed::new(prepared, use_index, command)
    }

    fn facts(&self, turn: u64) -> Facts {
        let byte = u8::try_from(self.made % 200).unwrap();
        let now = Reading {
            unix_ms: NOW + self.made,
            quality: Quality::Plausible,
            served: Served::default(),
            wall_ms: NOW + self.made,
        };
        let mut facts = Facts::new(TENANT, now, Kind::Use);
        facts.operation_id = Some(OperationId::from_bytes([byte; 16]));
        facts.actor = Some(PrincipalId::from_bytes([5; 16]));
        facts.credential = Some(HandleId::from_bytes([9; 16]));
        facts.message = [byte; 32];
        facts.input_bytes = 1_000;
        facts.suite = 1;
        match turn {
            1 => facts.refused = Some(Reason::NotAuthorized),
            3 => {
                facts.kind = Kind::Command;
                facts.operation = 1;
                facts.head_digest = [byte; 32];
            }
            _ => {
                facts.key = Some((KEY, 1));
                facts.counted = Counted::Yes;
                facts.output = [byte + 1; 32];
                facts.context = [byte + 2; 32];
            }
        }
        facts
    }
}

/// Writes a log of `frames`, each of so many records, over segments of `segment_bytes`.
pub(super) fn write_log(disk: &Arc<dyn Disk>, segment_bytes: u64, frames: &[usize]) {
    let origin = origin();
    disk.write_whole(ORIGIN_FILE, origin.to_text().as_bytes()).unwrap();
    let walked = walk(&**disk, origin, &mut |_, _| Ok(())).unwrap();
    let tail = settle(&**disk, walked).unwrap().tail;
    let mut wal = Wal::begin(Arc::clone(disk), origin.log_id, segment_bytes, &tail).unwrap();
    let mut chain = Chain::resume(&tail, origin.log_id, boot(9).boot_nonce, [0; 64]);
    let mut maker = Maker::of(boot(9));
    for count in frames {
        prepare_spare(&**disk, segment_bytes).unwrap();
        let before = chain.frontier().clone();
        let begun = chain.begin((maker.records(*count), NOW), &Partner::none());
        if !wal.fits(begun.padded_bytes()) {
            wal.roll(&chain.segment_start(begun.frame(), before)).unwrap();
        }
        let apart = (&Partner::none(), Instant::now as fn() -> Instant);
        let (_, hash) = wal.write_while(&begun, apart, || begun.hash()).unwrap();
        let composed = chain.complete(begun, hash);
        chain.signed(sign(&composed.head));
    }
    prepare_spare(&**disk, segment_bytes).unwrap();
}

/// The frames of a log, as they are read from its files.
pub(super) fn read_frames_of(disk: &dyn Disk, origin: &Origin) -> Vec<Frame> {
    let mut frames = Vec::new();
    walk(disk, origin, &mut |frame, _| {
        frames.push(frame.clone());
        Ok(())
    })
    .unwrap();
    frames
}

/// The frames of a log of ours.
pub(super) fn read_frames(disk: &dyn Disk) -> Vec<Frame> {
    read_frames_of(disk, origin())
}
