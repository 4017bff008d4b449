//! A PostgreSQL cluster of one's own, from the distribution's package: made in a temporary
//! folder, reached through a Unix socket, gone with the program that has started it, however that
//! ends.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Where the server's programs are, newest first, besides those in `PATH`.
const DISTRIBUTIONS: [&str; 2] = ["/usr/lib/postgresql", "/usr/pgsql"];

/// The oldest server whose SQL will do.
const OLDEST: u32 = 15;

/// The shell that looks after the server: it does what it is told line by line, and when nobody
/// is there any more to tell it something it ends the server and removes the folder.
const KEEPER: &str = r#"
folder=$1 bin=$2 primary=$3
exec 2>>"$folder.log"
umask 077
mkdir "$folder" || exit 1
stop() { [ -n "$pid" ] && kill -CONT $pid && kill -$1 $pid && wait $pid; pid=; }
trap '' INT TERM HUP
if [ -n "$primary" ]; then
  "$bin/pg_basebackup" -h "$primary" -U bondflow -D "$folder/data" -X stream -R -c fast >&2 || exit 1
else
  "$bin/initdb" --pgdata="$folder/data" --username=bondflow --auth=trust --encoding=UTF8 --locale=C --no-sync >&2 || exit 1
fi
echo made
while read -r word rest; do
  case $word in
    start)
      "$bin/postgres" -D "$folder/data" -k "$folder" -c listen_addresses= $rest >&2 &
      pid=$!
      until "$bin/pg_isready" -q -h "$folder"; do kill -0 $pid || { pid=; break; }; sleep 0.05; done ;;
    stop) stop "$rest" ;;
    promote) "$bin/pg_ctl" promote -D "$folder/data" >&2 ;;
  esac
  echo done "$pid"
done
stop QUIT
rm -rf "$folder" "$folder.log"
"#;

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum NoCluster {
    /// The package is missing.
    #[error("PostgreSQL {OLDEST} or later is not installed: install the distribution's package postgresql")]
    NotInstalled,
    /// A program did not do what it should.
    #[error("the PostgreSQL cluster: {0}")]
    Failed(String),
}

/// A cluster. Its server runs until it is stopped, or the cluster is dropped.
pub struct Cluster {
    folder: PathBuf,
    bin: PathBuf,
    keeper: Child,
    pipes: Mutex<Pipes>,
}

/// To the keeper and from it. Once it can be told nothing more, it ends.
struct Pipes {
    tell: Option<ChildStdin>,
    told: BufReader<ChildStdout>,
}

/// How many MB must be free in memory for a cluster to lie there.
const MEMORY_NEEDED: u64 = 2_000;

/// Where a cluster lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the disk, so that a sync is one.
    Disk,
    /// In memory where the machine has a file system there: quick, and good for logic only.
    Memory,
}

impl Place {
    /// The folder under which it lies.
    pub fn folder(self) -> PathBuf {
        let memory = Path::new("/dev/shm");
        let room = || {
            let free = Command::new("df").args(["--output=avail", "-m"]).arg(memory).output().ok()?;
            String::from_utf8(free.stdout).ok()?.lines().last()?.trim().parse::<u64>().ok()
        };
        let fits = self == Self::Memory && memory.is_dir() && room().is_some_and(|free| free >= MEMORY_NEEDED);
        if fits { memory.to_owned() } else { std::env::temp_dir() }
    }
}

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Connections are cut, all is written.
    Fast,
    /// As in a crash: at the next start the log is recovered.
    Crash,
}

impl Cluster {
    /// Makes a cluster and starts its server; `options` are further arguments for it, as
    /// `-c fsync=off`.
    ///
    /// # Errors
    /// See [`NoCluster`].
    pub fn start(place: Place, options: &str) -> Result<Self, NoCluster> {
        Self::make(&place.folder(), None, options)
    }

    /// Makes a standby that follows this cluster, and starts its server.
    ///
    /// # Errors
    /// See [`NoCluster`].
    pub fn standby(&self) -> Result<Self, NoCluster> {
        Self::make(self.folder.parent().unwrap_or(Path::new("/")), Some(&self.folder), "")
    }

    /// Has a standby follow no longer: it is a server of its own now.
    ///
    /// # Errors
    /// When its keeper is gone.
    pub fn promote(&self) -> Result<(), NoCluster> {
        self.tell("promote").map(drop)
    }

    fn make(parent: &Path, primary: Option<&Path>, options: &str) -> Result<Self, NoCluster> {
        let failed = |error: std::io::Error| NoCluster::Failed(error.to_string());
        let bin = programs().ok_or(NoCluster::NotInstalled)?;
        let folder = parent.join(format!("bondflow-postgres-{}", uuid::Uuid::new_v4().simple()));
        let mut command = unprivileged_shell();
        command.args(["-c", KEEPER, "sh"]).arg(&folder).arg(&bin).args(primary);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.current_dir("/").spawn().map_err(failed)?;
        let Some(told) = keeper.stdout.take() else {
            return Err(NoCluster::Failed("its keeper has no pipes".to_owned()));
        };
        let pipes = Mutex::new(Pipes { tell: keeper.stdin.take(), told: BufReader::new(told) });
        let cluster = Self { folder, bin, keeper, pipes };
        cluster.answer(&mut cluster.pipes(), "made")?;
        cluster.again(options)?;
        Ok(cluster)
    }

    /// The folder with its socket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The address of one of its databases.
    pub fn url(&self, database: &str) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://bondflow@{folder}/{database}")
    }

    /// Makes a database of its own, with what is in `template`; its address.
    ///
    /// # Errors
    /// When the server does not.
    pub async fn database(&self, template: &str) -> Result<String, sqlx::Error> {
        let name = format!("bondflow_{}", uuid::Uuid::new_v4().simple());
        let mut db = PgConnection::connect(&self.url("postgres")).await?;
        let make = format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\"");
        sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut db).await?;
        db.close().await?;
        Ok(self.url(&name))
    }

    /// Removes a database, whoever is connected to it.
    ///
    /// # Errors
    /// When the server does not.
    pub fn forget(&self, url: &str) -> std::io::Result<()> {
        let name = url.rsplit_once('/').map_or(url, |(_, name)| name);
        let mut command = Command::new(self.bin.join("dropdb"));
        command.args(["--force", "--if-exists", "--username=bondflow", name]).arg("-h").arg(&self.folder);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().map(drop)
    }

    /// Ends the server.
    ///
    /// # Errors
    /// When its keeper is gone.
    pub fn stop(&self, ending: Ending) -> Result<(), NoCluster> {
        self.tell(match ending {
            Ending::Fast => "stop INT",
            Ending::Crash => "stop QUIT",
        })
        .map(drop)
    }

    /// Starts the server once it was stopped.
    ///
    /// # Errors
    /// When it does not start.
    pub fn again(&self, options: &str) -> Result<(), NoCluster> {
        match self.tell(&format!("start {options}"))?.as_str() {
            "" => Err(self.failed()),
            _ => Ok(()),
        }
    }

    fn pipes(&self) -> MutexGuard<'_, Pipes> {
        self.pipes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With what the server has said.
    fn failed(&self) -> NoCluster {
        NoCluster::Failed(std::fs::read_to_string(self.folder.with_extension("log")).unwrap_or_default())
    }

    fn tell(&self, line: &str) -> Result<String, NoCluster> {
        let mut pipes = self.pipes();
        let written = pipes.tell.as_mut().map(|tell| writeln!(tell, "{line}"));
        match written {
            Some(Ok(())) => self.answer(&mut pipes, "done"),
            _ => Err(self.failed()),
        }
    }

    fn answer(&self, pipes: &mut Pipes, word: &str) -> Result<String, NoCluster> {
        let mut line = String::new();
        match pipes.told.read_line(&mut line) {
            Ok(_) if line.starts_with(word) => Ok(line[word.len()..].trim().to_owned()),
            _ => Err(self.failed()),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.pipes().tell = None;
        // However it ends, nothing is left to do.
        let _ = self.keeper.wait();
    }
}

/// The folder of the newest server's programs that is new enough.
fn programs() -> Option<PathBuf> {
    let in_path = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    let packaged = DISTRIBUTIONS.iter().flat_map(|folder| {
        let versions = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut versions: Vec<(u32, PathBuf)> = versions
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
            .filter(|(version, _)| *version >= OLDEST)
            .collect();
        versions.sort();
        versions.into_iter().rev().map(|(_, bin)| bin)
    });
    packaged.chain(in_path).find(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
}

/// A shell of somebody who may run a server, which refuses to be run by root.
fn unprivileged_shell() -> Command {
    let id = Command::new("id").arg("-u").output();
    if !id.is_ok_and(|id| id.stdout.trim_ascii() == b"0") {
        return Command::new("sh");
    }
    let there = Command::new("id").arg("postgres").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let user = if there.is_ok_and(|status| status.success()) { "postgres" } else { "nobody" };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups", "sh"]);
    command
}
