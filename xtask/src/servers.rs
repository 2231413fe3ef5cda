//! Servers that a task starts for itself: on loopback, on a port that was free, stopped by pid.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::shell;

/// A registry that runs until this is dropped.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Launchway's embedded registry over a folder.
    pub(crate) fn embedded(launchway: &Path, root: &Path) -> Result<Self> {
        let address = free_address()?;
        fs::create_dir_all(root)?;
        let mut command = Command::new(launchway);
        command
            .args(["registry", "serve", "--listen", &address.to_string()])
            .arg("--root")
            .arg(root);
        Self::start(command, address, &root.with_extension("log"))
    }

    /// Debian's `docker-registry` over a folder.
    pub(crate) fn distribution(root: &Path) -> Result<Self> {
        let address = free_address()?;
        fs::create_dir_all(root)?;
        let config = root.with_extension("yml");
        fs::write(
            &config,
            format!(
                "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
                 http: {{addr: \"{address}\"}}\nlog: {{level: error}}\n",
                root.display()
            ),
        )?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config);
        Self::start(command, address, &root.with_extension("log"))
    }

    /// Host and port, as image references name it.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it writes what it has to say; Debian's `docker-registry` a line for each request.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    fn start(mut command: Command, address: SocketAddr, log: &Path) -> Result<Self> {
        let output = fs::File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let mut server = Self {
            child,
            address,
            log: log.to_owned(),
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            let ended = server.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(log).unwrap_or_default();
                bail!("the registry on {address} did not start: {}", said.trim());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have something to finish; killing is for one that does not listen.
        let asked = shell::succeeds(Command::new("kill").arg(self.child.id().to_string()));
        let deadline = Instant::now() + Duration::from_secs(3);
        while asked && Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}
