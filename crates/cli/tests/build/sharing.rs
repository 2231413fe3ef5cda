//! Two builds at once share work: what both need is done once, and nobody waits for ever.
//!
//! The steps leave a line in a cache mount each time they run, and go on when the test says so.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::lab::{BUSYBOX, Lab};

/// Longer than any machine needs; reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(60);
/// Leaves a line, waits for the word to go on, and then looks for the word to fail.
const STEP: &str = "RUN --mount=type=cache,target=/c echo x >> /c/ran; \
    until [ -e /c/go ]; do busybox sleep 0.05; done; [ ! -e /c/fail ]\n";

/// A build under way, with what it says as it comes.
struct Running {
    child: Child,
    said: std::sync::mpsc::Receiver<String>,
    all: String,
}

impl Running {
    fn start(lab: &Lab) -> Self {
        Self::start_with(lab, &[])
    }

    fn start_with(lab: &Lab, flags: &[&str]) -> Self {
        let mut child = lab
            .command(&[&["--progress", "plain"], flags].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting launchway");
        let stderr = child.stderr.take().expect("it is piped");
        let (sender, said) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            said,
            all: String::new(),
        }
    }

    fn says(&mut self, what: &str) {
        let start = Instant::now();
        while !self.all.contains(what) {
            match self.said.recv_timeout(PATIENCE) {
                Ok(line) => self.all.push_str(&(line + "\n")),
                Err(error) => panic!("{what} was not said ({error}):\n{}", self.all),
            }
            assert!(start.elapsed() < PATIENCE, "{}", self.all);
        }
    }

    fn ends(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("waiting for launchway");
        for line in self.said.iter() {
            self.all.push_str(&(line + "\n"));
        }
        (status.code(), self.all)
    }
}

/// The cache mount of the step, on the disk.
fn mount(lab: &Lab) -> PathBuf {
    let find = || {
        let kinds = ["root", "rootless", "single"];
        let mut mounts = kinds
            .iter()
            .filter_map(|kind| {
                fs::read_dir(lab.state().join(kind).join("engine/cache-mounts")).ok()
            })
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("0"));
        mounts.find(|path| path.join("ran").exists())
    };
    wait_until("the step runs", || find().is_some());
    find().expect("it was there just now")
}

fn runs(lab: &Lab) -> usize {
    let ran = fs::read_to_string(mount(lab).join("ran")).expect("reading a file");
    ran.lines().count()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn say(lab: &Lab, word: &str) {
    fs::write(mount(lab).join(word), "").expect("writing a file");
}

/// One build at the step, and another that waits for it.
fn two(test: &str) -> Option<(Lab, Running, Running)> {
    let lab = Lab::with_busybox(test, &format!("{BUSYBOX}{STEP}"))?;
    let first = Running::start(&lab);
    mount(&lab);
    let mut second = Running::start(&lab);
    second.says("waits: the same step is under way elsewhere");
    Some((lab, first, second))
}

#[test]
fn the_second_build_takes_what_the_first_one_made() {
    let Some((lab, first, second)) = two("the_second_build_takes_what_the_first_one_made") else {
        return;
    };
    say(&lab, "go");
    let (code, said) = first.ends();
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = second.ends();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("3/3] cached") || said.contains("4/4] cached"),
        "{said}"
    );
    assert_eq!(runs(&lab), 1);
}

#[test]
fn when_the_first_build_dies_the_second_goes_on() {
    let Some((lab, mut first, second)) = two("when_the_first_build_dies_the_second_goes_on") else {
        return;
    };
    first.child.kill().expect("killing launchway");
    wait_until("the second runs the step", || runs(&lab) == 2);
    say(&lab, "go");
    let (code, said) = second.ends();
    assert_eq!(code, Some(0), "{said}");
    let _ = first.ends();
}

#[test]
fn when_the_first_build_fails_the_second_tries_itself() {
    let Some((lab, first, second)) = two("when_the_first_build_fails_the_second_tries_itself")
    else {
        return;
    };
    say(&lab, "fail");
    say(&lab, "go");
    assert_eq!(first.ends().0, Some(1));
    // It fails too, having run the step itself.
    assert_eq!(second.ends().0, Some(1));
    assert_eq!(runs(&lab), 2);
}

#[test]
fn a_build_that_waits_can_be_interrupted() {
    let Some((lab, first, second)) = two("a_build_that_waits_can_be_interrupted") else {
        return;
    };
    crate::interrupt::signal(&second.child, "INT");
    let (code, said) = second.ends();
    assert_eq!(code, Some(130), "{said}");
    assert_eq!(runs(&lab), 1, "the first one goes on");
    say(&lab, "go");
    assert_eq!(first.ends().0, Some(0));
}

/// Forgets the step with these words, and takes its turn: another build is at it, as it seems.
fn take_turn(lab: &Lab, words: &str) -> fs::File {
    use rustix::fs::{FlockOperation, flock};
    let kinds = ["root", "rootless", "single"].map(|kind| lab.state().join(kind));
    let state = kinds.iter().find(|kind| kind.is_dir()).expect("a state");
    let steps = fs::read_dir(state.join("engine/steps")).expect("the step cache");
    let mut steps = steps.map(|step| step.expect("a step").path());
    let is_it = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(words));
    let step = steps.find(is_it).expect("the step");
    let name = step.file_name().expect("a name").to_string_lossy();
    let turn = state.join("store/locks").join(format!("step-{name}"));
    fs::remove_file(&step).expect("forgetting the step");
    let turn = fs::File::create(turn).expect("making a lock");
    flock(&turn, FlockOperation::LockExclusive).expect("locking");
    turn
}

/// What is copied is kept under what was hashed, so files must be the same at both times.
#[test]
fn files_that_change_while_they_are_taken_are_not_kept() {
    let lab = Lab::new("FROM scratch\nCOPY f /f\n");
    lab.write("f", "first");
    lab.digest(&[]);
    let turn = take_turn(&lab, "COPY f /f");
    let mut build = Running::start(&lab);
    build.says("waits: the same step is under way elsewhere");
    lab.write("f", "other");
    drop(turn);
    let (code, said) = build.ends();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("files changed while `COPY f /f`"), "{said}");
    lab.write("f", "first");
    let files = lab.path("files");
    lab.digest(&["-o", &files.display().to_string()]);
    assert_eq!(fs::read(files.join("f")).expect("the file"), b"first");
}

/// The same of a folder with a name that a step mounts.
#[test]
fn files_that_change_while_they_are_mounted_are_not_kept() {
    let test = "files_that_change_while_they_are_mounted_are_not_kept";
    let step = "RUN --mount=type=bind,from=other,target=/m busybox cp /m/f /f";
    let Some(lab) = Lab::with_busybox(test, &format!("{BUSYBOX}{step}\n")) else {
        return;
    };
    let other = lab.path("other");
    fs::create_dir(&other).expect("making a folder");
    let write = |text: &str| fs::write(other.join("f"), text).expect("writing a file");
    let named = format!("other={}", other.display());
    write("first");
    lab.digest(&["--build-context", &named]);
    let turn = take_turn(&lab, step);
    let mut build = Running::start_with(&lab, &["--build-context", &named]);
    build.says("waits: the same step is under way elsewhere");
    write("other");
    drop(turn);
    let (code, said) = build.ends();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("files changed while `RUN"), "{said}");
    write("first");
    let files = lab.path("files");
    let to = files.display().to_string();
    lab.digest(&["--build-context", &named, "-o", &to]);
    assert_eq!(fs::read(files.join("f")).expect("the file"), b"first");
}

/// A shared cache is none while another step has it locked.
#[test]
fn what_is_locked_is_not_shared() {
    let step = |sharing: &str, word: &str| {
        format!(
            "RUN --mount=type=cache,id=one,sharing={sharing},target=/1 --mount=type=cache,target=/c \
             echo {word} >> /c/ran; until [ -e /c/go ]; do busybox sleep 0.05; done\n"
        )
    };
    let Some(lab) = Lab::with_busybox(
        "what_is_locked_is_not_shared",
        &format!("{BUSYBOX}{}", step("locked", "locked")),
    ) else {
        return;
    };
    let first = Running::start(&lab);
    mount(&lab);
    lab.write(
        "Dockerfile",
        &format!("{BUSYBOX}{}", step("shared", "shared")),
    );
    let mut second = Running::start(&lab);
    second.says("waits: another step uses the cache mount `one`");
    assert_eq!(runs(&lab), 1);
    say(&lab, "go");
    assert_eq!(first.ends().0, Some(0));
    assert_eq!(second.ends().0, Some(0));
    assert_eq!(runs(&lab), 2);
}

/// Two steps that take two locked caches in opposite order do not wait for each other; who waits says
/// so, and one cache mounted twice is no reason to wait for oneself.
#[test]
fn locked_caches_are_waited_for_in_one_order() {
    let locked = |id: &str, target: &str| {
        format!("--mount=type=cache,id={id},sharing=locked,target={target} ")
    };
    let step = |mounts: &str, word: &str| {
        format!(
            "RUN {mounts}--mount=type=cache,target=/c echo {word} >> /c/ran; \
             until [ -e /c/go ]; do busybox sleep 0.05; done\n"
        )
    };
    let forth = locked("one", "/1") + &locked("two", "/2") + &locked("one", "/again");
    let back = locked("two", "/2") + &locked("one", "/1");
    let name = "locked_caches_are_waited_for_in_one_order";
    let Some(lab) = Lab::with_busybox(name, &format!("{BUSYBOX}{}", step(&forth, "forth"))) else {
        return;
    };
    let first = Running::start(&lab);
    mount(&lab);
    lab.write("Dockerfile", &format!("{BUSYBOX}{}", step(&back, "back")));
    let mut second = Running::start(&lab);
    second.says("waits: another step uses the cache mount `");
    assert_eq!(runs(&lab), 1);
    say(&lab, "go");
    assert_eq!(first.ends().0, Some(0));
    assert_eq!(second.ends().0, Some(0));
    assert_eq!(runs(&lab), 2);
}
