//! What a command works with: the database, the clock, the output.

use std::path::PathBuf;
use std::sync::Arc;

use bondflow::app::lineage::held;
use bondflow::engine::{Clock, Store, SystemClock, Timestamp};

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
    /// Where the daemon can be woken.
    pub socket: Option<PathBuf>,
    /// The claim window in days, where the settings are known.
    pub window_days: Option<u32>,
    /// The operator, as the machine knows him.
    pub operator: String,
}

impl Desk {
    /// Opens the database that the settings or the command line name.
    pub async fn open(shared: Shared) -> Result<Self, Failure> {
        let opened = open(&shared, Access::Beside).await?;
        if held(opened.store.as_ref()).await?.is_some() {
            eprintln!("the database was restored, and no run goes on: see `workflowctl reconcile`");
        }
        Ok(Self {
            store: opened.store,
            clock: Arc::new(SystemClock),
            output: shared.output,
            socket: opened.socket,
            window_days: opened.window_days,
            operator: operator(),
        })
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Who asks: the user, and who he was before `sudo`.
fn operator() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "somebody".to_owned())
}
