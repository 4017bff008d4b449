//! What a command works with: the database, the clock, the output.

use std::path::PathBuf;
use std::sync::Arc;

use bondflow::engine::{Clock, Store, SystemClock, Timestamp};
use bondflow::store::sqlite::daemon_lives;
use bondflow::store::wake::{socket_beside, wake};

use crate::Shared;
use crate::failure::Failure;
use crate::open::{Access, open};
use crate::output::Output;

/// A command's surroundings.
pub struct Desk {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where data goes.
    pub output: Output,
    /// Where the daemon of this database is to be found.
    pub daemon: Option<DaemonPlace>,
    /// The claim window in days, where the settings are known.
    pub window_days: Option<u32>,
    /// The operator, as the machine knows him.
    pub operator: String,
}

/// Where a database's daemon is.
pub enum DaemonPlace {
    /// On the machine of the database's file, beside which it leaves its signs.
    Beside(PathBuf),
    /// On some machine that reaches the database's server: nobody here can tell whether one is there.
    Somewhere,
}

impl DaemonPlace {
    /// Wakes the daemon; tells whether there may be one that answers.
    pub async fn wake(&self) -> bool {
        match self {
            Self::Beside(database) if !daemon_lives(database) => false,
            Self::Beside(database) => {
                // Without the socket the daemon looks by itself, a moment later.
                let _ = wake(&socket_beside(database)).await;
                true
            }
            // What is written there wakes the daemons by itself.
            Self::Somewhere => true,
        }
    }
}

impl Desk {
    /// Opens the database that the settings or the command line name.
    pub async fn open(shared: Shared) -> Result<Self, Failure> {
        let opened = open(&shared, Access::Beside).await?;
        Ok(Self {
            store: opened.store,
            clock: Arc::new(SystemClock),
            output: shared.output,
            daemon: opened.daemon,
            window_days: opened.window_days,
            operator: operator(),
        })
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A name for one request, never used before.
    pub fn ticket(&self) -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }
}

/// Who asks: the user, and who he was before `sudo`.
fn operator() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "somebody".to_owned())
}
