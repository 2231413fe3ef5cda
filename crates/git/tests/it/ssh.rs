//! Repositories over ssh, from a real sshd on this machine, with keys in a real agent.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Lab, git_is_missing};
use launchway_git::GitError;
use launchway_ssh::Agent;
use launchway_testkit::peers;

const SSHD: &str = "/usr/sbin/sshd";

fn sshd_is_missing(test: &str) -> bool {
    let missing = !Path::new(SSHD).exists();
    if missing {
        assert!(std::env::var_os("CI").is_none(), "sshd is missing");
        peers::skipped(test, "sshd");
    }
    missing || git_is_missing(test)
}

fn new_key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .status()
        .unwrap();
    assert!(made.success());
}

/// An sshd that lets the owner of a key in as who runs this test.
struct Sshd {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Sshd {
    fn start(folder: &Path, port: u16, host_key: &str) -> Self {
        let at = |name: &str| folder.join(name).display().to_string();
        if !folder.join(host_key).exists() {
            new_key(&folder.join(host_key));
        }
        // sshd wants an empty folder of root's; where it cannot be made it is not wanted.
        let _ = fs::create_dir_all("/run/sshd");
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
            at(host_key),
            at("user.pub"),
        );
        fs::write(folder.join("config"), config).unwrap();
        let child = Command::new(SSHD)
            .args(["-D", "-e", "-f", &at("config")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "sshd: {}",
                fs::read_to_string(folder.join("log")).unwrap()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            child,
            folder: folder.to_owned(),
            port,
        }
    }

    fn url(&self, path: &Path) -> String {
        let user = Command::new("id").arg("-un").output().unwrap();
        let user = String::from_utf8(user.stdout).unwrap();
        format!(
            "ssh://{}@127.0.0.1:{}{}",
            user.trim(),
            self.port,
            path.display()
        )
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_over_ssh_with_a_forwarded_key() {
    if sshd_is_missing("a_repository_over_ssh_with_a_forwarded_key") {
        return;
    }
    let mut lab = Lab::new().await;
    let folder = lab.folder.path().join("ssh");
    fs::create_dir(&folder).unwrap();
    for name in ["user", "stranger"] {
        new_key(&folder.join(name));
    }
    let own = fs::metadata(&folder).unwrap();
    let owner = (
        std::os::unix::fs::MetadataExt::uid(&own),
        std::os::unix::fs::MetadataExt::gid(&own),
    );
    let agent = |name: &str| {
        let key = fs::read(folder.join(name)).unwrap();
        Agent::Keys(vec![key]).forward(owner, 0o600).unwrap()
    };
    let port = free_port();
    let sshd = Sshd::start(&folder, port, "host");
    let url = sshd.url(&lab.folder.path().join("served/plain.git"));
    let (good, wrong) = (agent("user"), agent("stranger"));

    lab.agent = Some(wrong.socket().to_owned());
    let error = lab.take(&url, false).unwrap_err();
    assert!(
        error.to_string().contains("Permission denied"),
        "{error}\n{}",
        sshd.log()
    );

    lab.agent = Some(good.socket().to_owned());
    let (_, tree) = lab
        .take(&url, false)
        .unwrap_or_else(|error| panic!("{error}\n{}", sshd.log()));
    assert!(
        fs::read_to_string(tree.join("file"))
            .unwrap()
            .starts_with("two")
    );
    let known = fs::read_to_string(lab.state().join("known_hosts")).unwrap();
    assert!(known.contains(&format!("[127.0.0.1]:{port}")), "{known}");

    // A server that shows another key than before is not believed.
    drop(sshd);
    let other = Sshd::start(&folder, port, "other-host");
    lab.reopen();
    let error = lab.take(&url, false).unwrap_err();
    assert!(
        error.to_string().contains("Host key verification failed"),
        "{error}\n{}",
        other.log()
    );
    assert!(matches!(&error, GitError::Failed { .. }) && error.help().is_some());
}
