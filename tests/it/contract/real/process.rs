//! The nodes' processes: their ports, their logs, and their end, in whatever way the tests end.
//!
//! All nodes are in one process group. A shell of its own group waits on a pipe that only this process holds open;
//! when it closes, on an exit, a panic or a kill alike, the shell kills the group and removes the folder.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const WATCH: &str = r#"
cat >/dev/null
tries=100
while kill -s KILL -- "-$1" 2>/dev/null && [ "$tries" -gt 0 ]; do sleep 0.05; tries=$((tries - 1)); done
rm -rf -- "$2"
"#;

/// A process group that outlives its parent by no more than an instant.
pub struct Reaper {
    group: i32,
    // Both read a pipe whose other end is in here.
    _keeper: Child,
    _watch: Child,
}

impl Reaper {
    /// Begins to watch over a folder and the group of those who work in it.
    pub fn new(folder: &Path) -> io::Result<Self> {
        // Leads the group, so that it exists for as long as nodes may join it.
        let keeper = silent("cat").stdin(Stdio::piped()).process_group(0).spawn()?;
        let group = i32::try_from(keeper.id()).map_err(io::Error::other)?;
        let mut watch = silent("sh");
        watch.args(["-c", WATCH, "watch", &group.to_string()]).arg(folder);
        // Apart from the terminal's group, so that an interrupt reaches the tests and not those who clear up.
        let watch = watch.stdin(Stdio::piped()).process_group(0).spawn()?;
        Ok(Self { group, _keeper: keeper, _watch: watch })
    }

    /// Starts a process that ends with this one at the latest.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        command.stdin(Stdio::null()).process_group(self.group).spawn()
    }
}

fn silent(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Has what the process says appended to a file of its folder, which is made if need be.
pub fn log_of(folder: &Path, command: &mut Command) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join("output.log");
    let file = std::fs::File::options().create(true).append(true).open(&path)?;
    command.stdout(file.try_clone()?).stderr(file);
    Ok(path)
}

/// Free ports on the loopback, below those that the system hands to outgoing connections: a node that is started again
/// finds its port free.
pub fn free_ports<const N: usize>() -> io::Result<[u16; N]> {
    const LOWEST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    let first = std::process::id() as u16;
    let mut held = Vec::new();
    for step in 0..COUNT {
        if held.len() == N {
            break;
        }
        let port = LOWEST + first.wrapping_mul(31).wrapping_add(step) % COUNT;
        // One that is taken is passed over.
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok().map(|listener| (port, listener)));
    }
    let ports: Vec<u16> = held.iter().map(|(port, _)| *port).collect();
    ports.try_into().map_err(|_| io::Error::other("no free ports"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn nothing_outlives_the_pipe() {
        const SIGKILL: i32 = 9;
        let folder = tempfile::TempDir::new().unwrap();
        let reaper = Reaper::new(folder.path()).unwrap();
        let mut nodes = [(); 2].map(|()| reaper.spawn(Command::new("sleep").arg("600")).unwrap());
        assert!(nodes.iter_mut().all(|node| node.try_wait().unwrap().is_none()));
        // Closes the pipes, as the end of the process does.
        let Reaper { _watch: mut watch, _keeper: mut keeper, .. } = reaper;
        drop((watch.stdin.take(), keeper.stdin.take()));
        for mut node in nodes {
            assert_eq!(node.wait().unwrap().signal(), Some(SIGKILL));
        }
        keeper.wait().unwrap();
        watch.wait().unwrap();
        assert!(!folder.path().exists());
    }
}
