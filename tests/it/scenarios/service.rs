//! What the daemon tells the service manager that has started it.

use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::process::Command;
use tokio::time::timeout;

use super::process::Process;
use super::world::{PATIENCE, Setup, World};

/// A service manager, as far as the daemon knows it.
struct Manager(UnixDatagram);

impl Manager {
    /// The next words but those that say that it lives; how often it has said so meanwhile.
    async fn hears(&self) -> (Vec<String>, usize) {
        let mut alive = 0;
        loop {
            let mut buffer = [0; 1024];
            let length = timeout(PATIENCE, self.0.recv(&mut buffer)).await.expect("it says nothing").unwrap();
            let words: Vec<String> = String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect();
            match words.as_slice() {
                [word] if word == "WATCHDOG=1" => alive += 1,
                _ => return (words, alive),
            }
        }
    }

    /// Waits until it has said again that it lives.
    async fn lives(&self) {
        let mut buffer = [0; 1024];
        let length = timeout(PATIENCE, self.0.recv(&mut buffer)).await.expect("it says nothing").unwrap();
        assert_eq!(&buffer[..length], b"WATCHDOG=1\n");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_manager_is_told() {
    let world = World::without_daemon(Setup { real_time: true, ..Setup::default() }).await;
    let socket = world.folder.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&socket).unwrap());
    let settings = world.settings_file();
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_bondflowd"));
    daemon.args(["run", "--config"]).arg(&settings).env("RUST_LOG", "info");
    let process = Process::of(daemon.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "150000"));

    assert_eq!(manager.hears().await, (vec!["READY=1".to_owned(), "STATUS=at work".to_owned()], 0));
    process.tells("bondflowd works").await;
    for _ in 0..3 {
        manager.lives().await;
    }

    let text = world.settings_text();
    let changed = text.replace("[lightning]", "[lightning]\ninvoice_expiration_window = 60");
    std::fs::write(&settings, changed.replace("enabled = false", "enabled = false\nlisten = '127.0.0.1:1'")).unwrap();
    process.signal("HUP").await;
    let (words, _) = manager.hears().await;
    assert!(words[0] == "RELOADING=1" && words[1].starts_with("MONOTONIC_USEC="), "{words:?}");
    assert_eq!(manager.hears().await.0[0], "READY=1");
    for (key, when) in [("lightning.invoice_expiration_window", "now"), ("http.listen", "at the next start")] {
        let line = process.tells(key).await;
        assert!(line.contains(when), "{line}");
    }

    process.signal("TERM").await;
    assert_eq!(manager.hears().await.0[0], "STOPPING=1");
    assert_eq!(process.ends(Duration::from_secs(10)).await.code, Some(0));
}
