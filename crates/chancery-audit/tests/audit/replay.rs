//! What a machine that loses power may find on its disk.
//!
//! [`Replay`] goes through the events of a [`super::model`] one by one. At each, a sector of 512 bytes that was
//! written and not synced may be lost, kept or torn, and a length or a name that was not synced may be lost.
//! After a failed sync nothing is known about what it should have made durable, and no later sync changes that.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model::{Event, FileImage, Image, Sector};

/// Up to so many states of one point are all tried; beyond, they are sampled.
const EXHAUSTIVE_MAX: u64 = 729;

/// So many are sampled beyond that, besides *all lost* and *all kept*.
const SAMPLES: u64 = 200;

/// A file as far as it is durable, and what may be besides.
#[derive(Clone, Debug, Default)]
struct Known {
    durable: FileImage,
    /// Not synced yet.
    pending: Dirty,
    /// What a failed sync should have made durable.
    unknown: Dirty,
}

#[derive(Clone, Debug, Default)]
struct Dirty {
    lengths: Vec<u64>,
    sectors: BTreeMap<u64, Vec<(Sector, u64)>>,
}

impl Dirty {
    fn append(&mut self, mut other: Self) {
        self.lengths.append(&mut other.lengths);
        for (number, mut versions) in other.sectors {
            self.sectors.entry(number).or_default().append(&mut versions);
        }
    }
}

impl Known {
    fn sync(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if let Some(length) = pending.lengths.last() {
            self.durable.set_length(*length);
            self.unknown.lengths.clear();
        }
        for (number, versions) in pending.sectors {
            if let Some((sector, end)) = versions.last() {
                self.durable.put(number, Arc::clone(sector));
                self.durable.length = self.durable.length.max(*end);
            }
            self.unknown.sectors.remove(&number);
        }
    }

    fn sync_failed(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.unknown.append(pending);
    }

    fn dirty(&self) -> Dirty {
        let mut dirty = self.unknown.clone();
        dirty.append(self.pending.clone());
        dirty
    }
}

#[derive(Clone, Debug)]
enum NameChange {
    Create { file: usize, name: String },
    Rename { file: usize, from: String, to: String },
    Remove { file: usize, name: String },
}

/// Where the trace stands.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    files: Vec<Known>,
    names: BTreeMap<String, usize>,
    pending: Vec<NameChange>,
    unknown: Vec<NameChange>,
    /// Hashes of the frames that were acknowledged so far.
    pub(super) acknowledged: Vec<[u8; 32]>,
    /// The hash of the frame that was composed and not acknowledged.
    pub(super) in_flight: Option<[u8; 32]>,
}

impl Replay {
    pub(super) fn of(start: &Image) -> Self {
        let files =
            start.values().map(|durable| Known { durable: durable.clone(), ..Known::default() });
        Self {
            files: files.collect(),
            names: start.keys().cloned().zip(0..).collect(),
            pending: Vec::new(),
            unknown: Vec::new(),
            acknowledged: Vec::new(),
            in_flight: None,
        }
    }

    pub(super) fn apply(&mut self, event: &Event) {
        match event.clone() {
            Event::Create { file, name } => {
                self.files.resize(file + 1, Known::default());
                self.pending.push(NameChange::Create { file, name });
            }
            Event::Length { file, length } => self.files[file].pending.lengths.push(length),
            Event::Write { file, number, sector, end } => {
                let versions = self.files[file].pending.sectors.entry(number).or_default();
                versions.push((sector, end));
            }
            Event::Sync { file } => self.files[file].sync(),
            Event::SyncFailed { file } => self.files[file].sync_failed(),
            Event::Rename { file, from, to } => {
                self.pending.push(NameChange::Rename { file, from, to });
            }
            Event::Remove { file, name } => {
                self.pending.push(NameChange::Remove { file, name });
            }
            Event::SyncDirectory => {
                for change in std::mem::take(&mut self.pending) {
                    change.apply(&mut self.names);
                }
            }
            Event::SyncDirectoryFailed => self.unknown.append(&mut self.pending),
            Event::Composed(hash) => self.in_flight = Some(hash),
            Event::Acknowledged => self.acknowledged.extend(self.in_flight.take()),
        }
    }

    /// Shows every state in which a machine that loses power here may come up, or a sample of them.
    pub(super) fn states(&self, random: &mut Random, visit: &mut dyn FnMut(Image)) {
        let (names, dirty, radices) = self.choices();
        let total = radices.iter().try_fold(1_u64, |product, radix| product.checked_mul(*radix));
        let mut show = |digits: &[u64]| visit(self.state(&names, &dirty, digits));
        match total {
            Some(total) if total <= EXHAUSTIVE_MAX => {
                (0..total).for_each(|number| show(&digits_of(number, &radices)));
            }
            _ => sample(&radices, random, SAMPLES, &mut show),
        }
    }

    /// Shows two states in which a machine that loses power here may come up, *all lost* and *all kept*, and
    /// so many more.
    pub(super) fn some_states(&self, random: &mut Random, more: u64, visit: &mut dyn FnMut(Image)) {
        let (names, dirty, radices) = self.choices();
        sample(&radices, random, more, &mut |digits| visit(self.state(&names, &dirty, digits)));
    }

    /// What is not durable, and how many ways there are for each of it.
    fn choices(&self) -> (Vec<&NameChange>, Vec<Dirty>, Vec<u64>) {
        let names: Vec<&NameChange> = self.unknown.iter().chain(&self.pending).collect();
        let dirty: Vec<Dirty> = self.files.iter().map(Known::dirty).collect();
        let mut radices = vec![2_u64; names.len()];
        for file in &dirty {
            radices.push(file.lengths.len() as u64 + 1);
            // Lost, each version kept, the last one torn.
            radices.extend(file.sectors.values().map(|versions| versions.len() as u64 + 2));
        }
        (names, dirty, radices)
    }

    fn state(&self, names: &[&NameChange], dirty: &[Dirty], digits: &[u64]) -> Image {
        let mut digits = digits.iter().copied();
        let mut present = self.names.clone();
        for change in names {
            if digits.next() == Some(1) {
                change.apply(&mut present);
            }
        }
        let mut files = Vec::new();
        for (known, dirty) in self.files.iter().zip(dirty) {
            let mut image = known.durable.clone();
            let lengths = usize::try_from(digits.next().unwrap()).unwrap();
            dirty.lengths[..lengths].iter().for_each(|length| image.set_length(*length));
            for (number, versions) in &dirty.sectors {
                let digit = usize::try_from(digits.next().unwrap()).unwrap();
                settle_sector(&mut image, *number, versions, digit);
            }
            files.push(image);
        }
        present.into_iter().map(|(name, file)| (name, files[file].clone())).collect()
    }
}

fn sample(radices: &[u64], random: &mut Random, more: u64, show: &mut dyn FnMut(&[u64])) {
    show(&vec![0; radices.len()]);
    show(&radices.iter().map(|radix| (*radix).min(2) - 1).collect::<Vec<_>>());
    for _ in 0..more {
        show(&radices.iter().map(|radix| random.below(*radix)).collect::<Vec<_>>());
    }
}

fn settle_sector(image: &mut FileImage, number: u64, versions: &[(Sector, u64)], digit: usize) {
    let last = versions.len();
    let Some((sector, end)) = versions.get(digit.wrapping_sub(1)).or(versions.last()) else {
        return;
    };
    match digit {
        0 => return,
        digit if digit <= last => image.put(number, Arc::clone(sector)),
        _ => {
            let mut torn = *image.sector(number);
            // Somewhere inside, and not at the same place in every sector.
            let cut = 1 + usize::try_from(number * 131 % 510).unwrap();
            torn[..cut].copy_from_slice(&sector[..cut]);
            image.put(number, Arc::new(torn));
        }
    }
    image.length = image.length.max(*end);
}

fn digits_of(mut number: u64, radices: &[u64]) -> Vec<u64> {
    let digit = |radix: &u64| {
        let digit = number % radix;
        number /= radix;
        digit
    };
    radices.iter().map(digit).collect()
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create { file, name } => {
                names.insert(name.clone(), *file);
            }
            Self::Rename { file, from, to } => {
                names.retain(|name, of| name != from || of != file);
                names.insert(to.clone(), *file);
            }
            Self::Remove { file, name } => names.retain(|of, other| of != name || other != file),
        }
    }
}

/// A small generator with a fixed seed (xorshift64*).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}
