//! btcd on simnet, which mines when told to.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, bail};

use super::super::calls::{PATIENCE, PAUSE};
use super::process::{Reaper, log_of};

/// Both the name and the password; loopback only, and gone with the tests.
pub const RPC_USER: &str = "contract";

/// The chain.
pub struct Chain {
    bin: PathBuf,
    folder: PathBuf,
    peer_port: u16,
    rpc_port: u16,
    reaper: Arc<Reaper>,
    child: Mutex<Option<Child>>,
}

impl Chain {
    pub fn new(bin: &Path, folder: &Path, ports: [u16; 2], reaper: Arc<Reaper>) -> Self {
        let [peer_port, rpc_port] = ports;
        Self { bin: bin.to_owned(), folder: folder.to_owned(), peer_port, rpc_port, reaper, child: Mutex::new(None) }
    }

    pub fn rpc(&self) -> String {
        format!("127.0.0.1:{}", self.rpc_port)
    }

    pub fn certificate(&self) -> PathBuf {
        self.folder.join("rpc.cert")
    }

    /// Starts btcd, or starts it again; it mines to that address.
    pub async fn start(&self, miner: Option<&str>) -> anyhow::Result<()> {
        self.end()?;
        let mut command = Command::new(self.bin.join("btcd"));
        // Its own settings files go where HOME says.
        command.env("HOME", &self.folder).args(["--simnet", "--txindex", "--nobanning", "--nostalldetect"]);
        command.args(["--trickleinterval=100ms", "--debuglevel=error"]);
        command.arg(format!("--rpcuser={RPC_USER}")).arg(format!("--rpcpass={RPC_USER}"));
        command.arg(format!("--listen=127.0.0.1:{}", self.peer_port)).arg(format!("--rpclisten={}", self.rpc()));
        command.arg(format!("--rpccert={}", self.certificate().display()));
        command.arg(format!("--rpckey={}", self.folder.join("rpc.key").display()));
        command.arg(format!("--datadir={}", self.folder.join("data").display()));
        command.arg(format!("--logdir={}", self.folder.join("logs").display()));
        command.args(miner.map(|address| format!("--miningaddr={address}")));
        let log = log_of(&self.folder, &mut command)?;
        let child = self
            .reaper
            .spawn(&mut command)
            .with_context(|| format!("{} can't be run", command.get_program().display()))?;
        *self.child.lock().unwrap() = Some(child);
        let asked = async {
            while self.call(&["getblockcount"]).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(PATIENCE, asked)
            .await
            .with_context(|| format!("btcd does not answer; see {}", log.display()))
    }

    fn end(&self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub async fn mine(&self, blocks: u32) -> anyhow::Result<()> {
        self.call(&["generate", &blocks.to_string()]).await.map(drop)
    }

    pub async fn height(&self) -> anyhow::Result<u32> {
        Ok(self.call(&["getblockcount"]).await?.trim().parse()?)
    }

    async fn call(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = tokio::process::Command::new(self.bin.join("btcctl"));
        command.env("HOME", &self.folder).arg("--simnet").kill_on_drop(true);
        command.arg(format!("--rpcuser={RPC_USER}")).arg(format!("--rpcpass={RPC_USER}"));
        command.arg(format!("--rpcserver={}", self.rpc()));
        command.arg(format!("--rpccert={}", self.certificate().display())).args(words);
        let output = command.output().await.context("btcctl can't be run")?;
        if !output.status.success() {
            bail!("btcctl {words:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}
