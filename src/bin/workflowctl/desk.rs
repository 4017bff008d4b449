//! What a command works with: the database, the clock, the output.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bondflow::app::lineage::held;
use bondflow::engine::{Clock, Store, StoreError, Timestamp};
use bondflow::store::postgres::PostgresStore;
use bondflow::store::sqlite::daemon_lives;
use bondflow::store::wake::{socket_beside, wake};

use crate::Shared;
use crate::failure::Failure;
use crate::input::Input;
use crate::open::{Access, open};
use crate::output::{Format, Output};

/// How often what is watched is shown anew.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A command's surroundings.
pub struct Desk {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where data goes, and what else is told.
    pub output: Output,
    /// What comes in beside the command line.
    pub input: Input,
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
    /// On some machine that reaches the database's server, which knows whether one is at work.
    OnServer(Arc<PostgresStore>),
}

impl DaemonPlace {
    /// Wakes the daemon; tells whether there is one that may answer.
    pub async fn wake(&self) -> Result<bool, StoreError> {
        match self {
            Self::Beside(database) if !daemon_lives(database) => Ok(false),
            Self::Beside(database) => {
                // Without the socket the daemon looks by itself, a moment later.
                let _ = wake(&socket_beside(database)).await;
                Ok(true)
            }
            // What is written there wakes the daemons by itself.
            Self::OnServer(store) => store.attended().await,
        }
    }
}

impl Desk {
    /// Opens the database that the settings or the command line name.
    pub async fn open(shared: Shared) -> Result<Self, Failure> {
        let opened = open(&shared, Access::Beside).await?;
        match held(opened.store.as_ref()).await {
            Ok(None) => {}
            Ok(Some(_)) => {
                shared.output.tell("the database was restored, and no run goes on: see `workflowctl reconcile`");
            }
            // What can be read is shown all the same.
            Err(error) => shared.output.tell(error),
        }
        Ok(Self {
            store: opened.store,
            clock: shared.clock,
            output: shared.output,
            input: shared.input,
            daemon: opened.daemon,
            window_days: opened.window_days,
            operator: shared.operator,
        })
    }

    /// Wakes the daemon of this database; tells whether there is one that may answer.
    pub async fn wake(&self) -> Result<bool, StoreError> {
        match &self.daemon {
            Some(daemon) => daemon.wake().await,
            None => Ok(false),
        }
    }

    /// Waits until what is watched is to be shown anew.
    pub async fn look_again(&self) {
        self.clock.sleep_until(self.now().after(LOOK_AGAIN)).await;
    }

    /// Refuses to show again and again what a program reads.
    pub fn for_people(&self) -> Result<(), Failure> {
        match self.output.format {
            Format::Table => Ok(()),
            _ => Err(Failure::Usage("--watch is for people: it shows a table".to_owned())),
        }
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
