//! The system calls of one run, each a point at which another run may be cut off.
//!
//! A call is named by the file it is on, its name, and the how-manieth it is of both in its thread: nearly
//! every file is written by one thread. That is how `strace` counts with a path filter and `when=`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The calls that change files, or say that a change is on the disk.
pub(super) const CALLS: &str = "write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,ftruncate,\
fallocate,unlink,unlinkat,mkdir,mkdirat";

/// One call of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Call {
    /// The file, or the directory that is changed, from the service's directory.
    pub(super) file: PathBuf,
    /// Its name.
    pub(super) name: String,
    /// The how-manieth on that file, from 1.
    pub(super) nth: u32,
    /// What it returned, if it returned a number.
    pub(super) returned: Option<u64>,
}

/// What is done at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The process dies after it.
    KilledAfter,
    /// The process dies before it.
    KilledBefore,
    /// It is not carried out and fails with this error.
    Fails(&'static str),
    /// It is not carried out and returns this all the same.
    Skipped(u64),
}

/// A call with what is done at it.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) call: Call,
    pub(super) fault: Fault,
}

impl Point {
    /// The options of `strace` that do it to a service in `directory`.
    pub(super) fn options(&self, directory: &Path) -> Vec<String> {
        let Call { file, name, nth, .. } = &self.call;
        let what = match self.fault {
            // Long enough to see the mark in the trace and to end the process, which then takes as long to end.
            Fault::KilledAfter => "delay_exit=300ms".to_owned(),
            Fault::KilledBefore => "signal=KILL".to_owned(),
            Fault::Fails(error) => format!("error={error}"),
            Fault::Skipped(value) => format!("retval={value}"),
        };
        let file = directory.join(file).to_str().unwrap().to_owned();
        let inject = format!("inject={name}:{what}:when={nth}");
        ["-P".into(), file, "-e".into(), format!("trace={name}"), "-e".into(), inject].into()
    }

    /// The mark that the trace has when it was done; a kill before leaves none but its own end.
    pub(super) fn mark(&self) -> &'static str {
        match self.fault {
            Fault::KilledAfter => "(DELAYED)",
            Fault::KilledBefore => "killed by SIGKILL",
            Fault::Fails(_) | Fault::Skipped(_) => "(INJECTED)",
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call { file, name, nth, .. } = &self.call;
        write!(f, "{name} {nth} on `{}`: {:?}", file.display(), self.fault)
    }
}

/// The calls in a trace of a service in `directory`, without repeats.
pub(super) fn calls(trace: &str, directory: &Path) -> Vec<Call> {
    let mut counts: BTreeMap<(&str, PathBuf, &str), u32> = BTreeMap::new();
    let mut calls: Vec<Call> = Vec::new();
    // Where the call of each thread stands that another thread's line cut in two.
    let mut cut: BTreeMap<&str, usize> = BTreeMap::new();
    for line in trace.lines() {
        let returned = line.rsplit_once(" = ").and_then(|(_, value)| value.trim().parse().ok());
        if let Some((thread, _)) = line.split_once(" <... ") {
            if let Some(position) = cut.remove(thread) {
                calls[position].returned = returned;
            }
            continue;
        }
        let Some((thread, name, file)) = parse(line, directory) else { continue };
        let nth = counts.entry((thread.trim_end(), file.clone(), name)).or_default();
        *nth += 1;
        let call = Call { file, name: name.into(), nth: *nth, returned };
        let is_known = |known: &Call| {
            (&known.file, &known.name, known.nth) == (&call.file, &call.name, call.nth)
        };
        if calls.iter().any(is_known) {
            continue;
        }
        if line.ends_with("<unfinished ...>") {
            cut.insert(thread.trim_end(), calls.len());
        }
        calls.push(call);
    }
    calls
}

/// Takes thread, call and file out of one line; lines about anything else are none. A process that is traced
/// without its children has no thread in front.
fn parse<'t>(line: &'t str, directory: &Path) -> Option<(&'t str, &'t str, PathBuf)> {
    let call = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let thread = line.strip_suffix(call)?;
    let (name, arguments) = call.trim_start().split_once('(')?;
    // A descriptor stands as `7</path>`, a path by itself in quotation marks.
    let descriptors = arguments.split('<').skip(1).filter_map(|rest| rest.split('>').next());
    let paths = arguments.split('"').skip(1).step_by(2);
    let within = |path| Path::new(path).strip_prefix(directory).ok();
    let file = descriptors.chain(paths).find_map(within)?;
    let is_call = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    is_call.then(|| (thread, name, file.to_owned()))
}

/// At most so many of them, evenly spaced.
pub(super) fn sample<T>(all: Vec<T>, most: usize) -> Vec<T> {
    let (count, mut taken) = (all.len(), 0);
    let chosen = all.into_iter().enumerate().filter(|(position, _)| {
        let is_due = count <= most || position * most >= taken * count;
        taken += usize::from(is_due);
        is_due
    });
    chosen.map(|(_, one)| one).collect()
}

#[test]
fn calls_are_counted_by_thread_file_and_name() {
    let trace = "\
7 fdatasync(5</t/s1/d/store.redb>) = 0
7 pwrite64(9</t/s1/d/audit/0.seg>, \"CHYF\\1\"..., 4096, 4096) = 4096
8 fdatasync(5</t/s1/d/store.redb> <unfinished ...>
7 fdatasync(5</t/s1/d/store.redb>) = 0
8 <... fdatasync resumed>) = 0
8 pwrite64(9</t/s1/d/audit/1.seg>, \"CHYF\\1\"..., 8192, 0 <unfinished ...>
7 renameat(6</t/s1/d/audit>, \"spare.new\", 6</t/s1/d/audit>, \"spare\") = 0
unlink(\"/t/s1/d/run/signer.sock\") = 0
7 write(1<pipe:[77]>, \"x\", 1) = 1
8 <... pwrite64 resumed>) = 8192
7 +++ exited with 0 +++
";
    let calls = calls(trace, Path::new("/t/s1"));
    let shown: Vec<_> = calls
        .iter()
        .map(|call| format!("{} {} {}", call.name, call.file.display(), call.nth))
        .collect();
    assert_eq!(
        shown,
        [
            "fdatasync d/store.redb 1",
            "pwrite64 d/audit/0.seg 1",
            "fdatasync d/store.redb 2",
            "pwrite64 d/audit/1.seg 1",
            "renameat d/audit 1",
            "unlink d/run/signer.sock 1",
        ]
    );
    let returned: Vec<_> = calls.iter().map(|call| call.returned).collect();
    assert_eq!(returned, [Some(0), Some(4096), Some(0), Some(8192), Some(0), Some(0)]);
}

#[test]
fn a_sample_is_spread_over_the_whole() {
    assert_eq!(sample((0..10).collect(), 20), (0..10).collect::<Vec<_>>());
    assert_eq!(sample((0..10).collect(), 5), [0, 2, 4, 6, 8]);
    assert_eq!(sample((0..1_000).collect(), 60).len(), 60);
}
