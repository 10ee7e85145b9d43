//! The thread that keeps the policy in force equal to what is on disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::*;

/// How long a test waits for a load: less than the interval of polling, so that the watch is what is tested.
const PATIENCE: Duration = Duration::from_secs(8);
/// How many bursts of changes each reloader of the stress test sees.
const STRESS: usize = 12;
const OLD: &str = "mode: Limited\nhostRules: [old.test]\n";
const NEW: &str = "mode: Limited\nhostRules: [new.test, newer.test]\n";

/// A running reloader and what it tells.
struct Bench {
    live: Live,
    reloader: Reloader,
    told: Receiver<Report>,
    _directory: Arc<TempDir>,
}

impl Bench {
    /// Starts on a path whose files are there.
    fn start(directory: &Arc<TempDir>, path: &Path) -> Self {
        Self::start_after(directory, path, || ())
    }

    /// The same, where something happens between the first load and the start.
    fn start_after(directory: &Arc<TempDir>, path: &Path, between: impl FnOnce()) -> Self {
        let mut store = Store::new(path.to_owned(), None);
        let (policies, first) = Reloader::first(&mut store, Guards::default()).unwrap();
        between();
        let live = Live::new(Snapshot { generation: 1, policies, registry: Arc::default() });
        let (tell, told) = channel();
        let on_load = move |report: &Report| drop(tell.send(report.clone()));
        let guards = || Ok(Guards::default());
        let reloader =
            Reloader::start(store, None, live.clone(), first, Box::new(guards), Box::new(on_load)).unwrap();
        Self { live, reloader, told, _directory: Arc::clone(directory) }
    }

    /// Waits for a load that satisfies; the file is written by several system calls.
    fn wait_for(&self, what: &str, fits: impl Fn(&Report) -> bool) -> Report {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let report = self.told.recv_timeout(left).unwrap_or_else(|_| panic!("waited in vain for {what}"));
            if fits(&report) {
                return report;
            }
        }
    }

    fn wait_for_rules(&self, rules: usize) -> Report {
        self.wait_for(&format!("{rules} rules"), |report| report.rules == rules && !report.is_rejected())
    }
}

fn directory() -> (Arc<TempDir>, PathBuf) {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let path = directory.path().join("policies");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), OLD).unwrap();
    (directory, path)
}

/// Renames a finished draft over a file, as careful editors do.
fn replace(file: &Path, text: &str) {
    let draft = file.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, file).unwrap();
}

#[test]
fn a_file_of_a_directory_replaced_or_written_in_place_or_added_is_seen_at_once() {
    let (directory, path) = directory();
    let bench = Bench::start(&directory, &path);
    replace(&path.join("a.yaml"), NEW);
    assert_eq!(bench.wait_for_rules(2).generation, 2);
    fs::write(path.join("a.yaml"), OLD).unwrap();
    let report = bench.wait_for_rules(1);
    assert_eq!(report.generation, bench.live.current().generation);
    assert_eq!(bench.reloader.last().generation, report.generation);
    let own =
        "kind: EgressPolicy\nmetadata: {name: s, sandbox: one}\nspec: {mode: Limited, hostRules: [a.test]}\n";
    fs::write(path.join("b.yaml"), own).unwrap();
    bench.wait_for_rules(2);
}

#[test]
fn a_single_file_is_followed_by_name() {
    let (directory, path) = directory();
    let file = path.join("a.yaml");
    let bench = Bench::start(&directory, &file);
    replace(&file, NEW);
    bench.wait_for_rules(2);
    replace(&file, OLD);
    bench.wait_for_rules(1);
}

#[test]
fn a_directory_that_is_a_link_is_followed_to_where_it_leads_and_goes_on_being_watched_there() {
    let (directory, path) = directory();
    let next = directory.path().join("next");
    fs::create_dir(&next).unwrap();
    fs::write(next.join("a.yaml"), NEW).unwrap();
    let link = directory.path().join("current");
    symlink(&path, &link).unwrap();
    let bench = Bench::start(&directory, &link);
    let draft = directory.path().join("draft");
    symlink(&next, &draft).unwrap();
    fs::rename(&draft, &link).unwrap();
    bench.wait_for_rules(2);
    replace(&next.join("a.yaml"), OLD);
    bench.wait_for_rules(1);
}

#[test]
fn p2_a_directory_that_vanishes_and_comes_back_goes_on_being_watched() {
    let (directory, path) = directory();
    let bench = Bench::start(&directory, &path);
    let away = directory.path().join("away");
    fs::rename(&path, &away).unwrap();
    let report = bench.wait_for("a rejected load", Report::is_rejected);
    assert_eq!((report.rules, report.swapped), (1, false), "the last good one stays");
    fs::create_dir(&path).unwrap();
    replace(&path.join("a.yaml"), NEW);
    bench.wait_for_rules(2);
    replace(&path.join("a.yaml"), OLD);
    bench.wait_for_rules(1);
}

#[test]
fn p2_somebody_who_writes_beside_the_policies_without_end_holds_no_change_up() {
    let (directory, path) = directory();
    let bench = Bench::start(&directory, &path);
    let done = Arc::new(AtomicBool::new(false));
    let noise = {
        let (done, log) = (Arc::clone(&done), path.join("audit.log"));
        thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                fs::write(&log, "x").unwrap();
                thread::yield_now();
            }
        })
    };
    replace(&path.join("a.yaml"), NEW);
    bench.wait_for_rules(2);
    done.store(true, Ordering::Relaxed);
    noise.join().unwrap();
}

#[test]
fn a_change_between_the_first_load_and_the_watch_is_seen_at_once() {
    let (directory, path) = directory();
    let bench = Bench::start_after(&directory, &path, || replace(&path.join("a.yaml"), NEW));
    bench.wait_for_rules(2);
}

#[test]
fn p2_a_directory_made_anew_in_the_place_and_with_the_number_of_another_goes_on_being_watched() {
    let (directory, path) = directory();
    let bench = Bench::start(&directory, &path);
    fs::remove_dir_all(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), NEW).unwrap();
    bench.wait_for_rules(2);
    replace(&path.join("a.yaml"), OLD);
    bench.wait_for_rules(1);
}

#[test]
fn a_file_of_a_directory_that_is_watched_by_another_path_too_is_followed() {
    let (directory, path) = directory();
    let link = directory.path().join("z");
    symlink(&path, &link).unwrap();
    fs::create_dir(path.join("below")).unwrap();
    let (tell, told) = channel();
    let sign = Box::new(move || {
        let _gone = tell.send(());
    });
    // Events name it by the last of its paths, beside which only `below` is of interest.
    let _watch = Watch::new(vec![path.join("a.yaml"), link.join("below")], sign);
    replace(&path.join("a.yaml"), NEW);
    told.recv_timeout(PATIENCE).unwrap();
}

/// Changes a file as one of those who write files does: number `manner` of them.
fn change(file: &Path, manner: usize, text: &str) {
    let (first, second) = text.split_at(text.len() / 2);
    match manner % 5 {
        0 => replace(file, text),
        1 => fs::write(file, text).unwrap(),
        2 => {
            fs::remove_file(file).unwrap();
            fs::write(file, text).unwrap();
        }
        3 => {
            fs::write(file, first).unwrap();
            let mut open = fs::OpenOptions::new().append(true).open(file).unwrap();
            std::io::Write::write_all(&mut open, second.as_bytes()).unwrap();
        }
        _ => {
            replace(file, first);
            replace(file, text);
        }
    }
}

#[test]
fn p2_none_of_hundreds_of_changes_in_any_manner_waits_until_the_files_are_looked_at_again() {
    let changes = |seed: usize| {
        let (directory, path) = directory();
        let file = path.join("a.yaml");
        let bench = Bench::start(&directory, if seed.is_multiple_of(2) { &file } else { &path });
        let mut made = seed;
        for round in 1..=STRESS {
            // Right after a load, while signs settle, and while files are read.
            for burst in 0..=(seed + round) % 4 {
                made += 1 + burst;
                let hosts: Vec<_> = (0..=made % 97).map(|host| format!("h{host}.test")).collect();
                change(&file, made + seed, &format!("mode: Limited\nhostRules: [{}]\n", hosts.join(", ")));
            }
            bench.wait_for_rules(made % 97 + 1);
        }
    };
    thread::scope(|scope| {
        for seed in 0..8 {
            scope.spawn(move || changes(seed));
        }
    });
}

#[test]
fn no_change_is_no_swap_and_a_request_to_load_is_answered_by_the_next_change_all_the_same() {
    let (directory, path) = directory();
    let bench = Bench::start(&directory, &path);
    bench.reloader.trigger();
    fs::write(path.join("a.yaml"), OLD).unwrap();
    replace(&path.join("a.yaml"), NEW);
    assert_eq!(bench.wait_for_rules(2).generation, 2);
}

#[test]
fn the_thread_ends_with_the_reloader() {
    let (directory, path) = directory();
    let bench = Bench::start(&directory, &path);
    let Bench { reloader, told, .. } = bench;
    drop(reloader);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap_err(), RecvTimeoutError::Disconnected);
}
