//! Opening: which server, which database, at which version of the schema, and whether what it
//! says is committed is so. A database that is refused is left as it is.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Error, Postgres, SqlStr};

use super::failure::{code, may_pass};
use super::patience::Patience;
use super::sql;
use crate::engine::store::Table;
use crate::store::readers::{CONNECTED, Readers};
use crate::store::{Survey, columns};

/// For what a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// To drive its runs, beside other daemons or alone. The schema is made or brought up to date.
    Daemon,
    /// To look and to leave requests. The schema must be at the version that this build knows.
    Tool,
}

/// By whose clock leases and timers go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reckoning {
    /// The database's, which all daemons share; what callers give as the present counts only where
    /// it is earlier.
    Database,
    /// The caller's: for a world whose time is not that of any machine.
    Caller,
}

/// Why a database was not opened. Each is one line for the operator, without the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The address makes no sense.
    #[error("`database.url`: {0}")]
    Address(String),
    /// No connection, or it was refused.
    #[error("{server}: no connection: {reason}")]
    NoConnection {
        /// Host, port and database.
        server: String,
        /// What the server, or the network, said.
        reason: String,
    },
    /// The server is away, or is being stopped or started.
    #[error("{server}: no connection: {reason}")]
    Away {
        /// Host, port and database.
        server: String,
        /// What the server, or the network, said.
        reason: String,
        /// Whether it was the server.
        answers: bool,
    },
    /// Too old a server.
    #[error("{server}: PostgreSQL {found}, needed is {needed} or later")]
    OldServer {
        /// Host, port and database.
        server: String,
        /// Its version.
        found: i64,
        /// The oldest version that will do.
        needed: i64,
    },
    /// A server that follows another one.
    #[error("{0}: a standby that can't write; name the primary server, or promote this one")]
    Standby(String),
    /// The server may forget, or damage, what it has said to be committed.
    #[error("{server}: `{setting}` is {value}: a payment could be forgotten after it was committed; set it to on")]
    Unsafe {
        /// Host, port and database.
        server: String,
        /// The setting's name.
        setting: &'static str,
        /// Its value.
        value: String,
    },
    /// Text can't be kept as it is.
    #[error("{server}: the database's encoding is {found}, needed is UTF8")]
    Encoding {
        /// Host, port and database.
        server: String,
        /// Its encoding.
        found: String,
    },
    /// The role may not do what is needed.
    #[error("{server}: the role {role} may not {what}; grant it, or make the role the tables' owner")]
    NoRights {
        /// Host, port and database.
        server: String,
        /// The role.
        role: String,
        /// What it lacks.
        what: String,
    },
    /// A tool makes no schema.
    #[error("{0}: there are no tables; the daemon makes them at its first start")]
    Missing(String),
    /// It is a database of something else.
    #[error("{0}: the database of another program")]
    Foreign(String),
    /// A later build has been at work on it.
    #[error(
        "{server}: the schema is at version {found}, this build knows {known} at most: use the newer build's programs"
    )]
    Newer {
        /// Host, port and database.
        server: String,
        /// Its version.
        found: i64,
        /// The newest version that this build knows.
        known: i64,
    },
    /// No daemon of this build has been started on it.
    #[error("{server}: the schema is at version {found}, start the daemon to bring it to {known}")]
    Older {
        /// Host, port and database.
        server: String,
        /// Its version.
        found: i64,
        /// The version that this build needs.
        known: i64,
    },
    /// Anything else.
    #[error("{server}: {reason}")]
    Unusable {
        /// Host, port and database.
        server: String,
        /// What went wrong.
        reason: String,
    },
}

/// The oldest server whose SQL will do.
const OLDEST: i64 = 15;

/// How long a daemon that starts waits for a server that does not answer at all: it may be restarted just now, but a wrong
/// address shall be told soon.
const SILENCE: Duration = Duration::from_secs(5);

/// The settings of each connection, in ms: the longest statement; the longest wait for another's
/// lock; and how long a transaction may stand still, because its daemon does, before the server
/// ends it, so that it keeps nothing locked for longer.
const SESSION: [(&str, &str); 4] = [
    ("statement_timeout", "30000"),
    ("lock_timeout", "10000"),
    ("idle_in_transaction_session_timeout", "2000"),
    ("TimeZone", "UTC"),
];

/// What the connection that writes asks for besides. Each of its statements finds its rows by an index, so that its plan
/// need not be made anew for each list, nor from what a young table's statistics say.
const WRITING: [(&str, &str); 2] = [("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off")];

/// A server's address and how to speak to it.
#[derive(Clone)]
pub(super) struct Server {
    options: PgConnectOptions,
    reckoning: Reckoning,
    patience: Duration,
}

impl Server {
    /// `patience` is how long it is waited for when it is away.
    pub(super) fn new(url: &str, reckoning: Reckoning, patience: Duration) -> Result<Self, OpenError> {
        let parsed = PgConnectOptions::from_str(url);
        let options = parsed.map_err(|error| OpenError::Address(one_line(&error.to_string())))?;
        let named = options.get_application_name().is_some();
        let options = if named { options } else { options.application_name("bondflow") };
        // Statements carry preimages: they are never logged.
        Ok(Self { options: options.options(SESSION).disable_statement_logging(), reckoning, patience })
    }

    /// Leases and timers go by the database's clock.
    pub(super) fn own_clock(&self) -> bool {
        self.reckoning == Reckoning::Database
    }

    /// A wait for it.
    pub(super) fn patience(&self) -> Patience {
        Patience::of(self.patience)
    }

    /// Host, port and database, as errors name them.
    pub(super) fn name(&self) -> String {
        let database = self.options.get_database().unwrap_or_else(|| self.options.get_username());
        match self.options.get_socket() {
            Some(socket) => format!("postgres://{}/{database}", socket.display()),
            None => format!("postgres://{}:{}/{database}", self.options.get_host(), self.options.get_port()),
        }
    }

    /// A connection for writing, to a server that keeps what it says to be committed.
    pub(super) async fn writer(&self) -> Result<PgConnection, OpenError> {
        let mut db = self.connect(&self.options.clone().options(WRITING)).await?;
        self.check_server(&mut db).await?;
        Ok(db)
    }

    /// A connection for notifications: nothing on it needs to outlive the server.
    pub(super) async fn herald(&self) -> Result<PgConnection, Error> {
        self.options.clone().options([("synchronous_commit", "off")]).connect().await
    }

    /// For a listener, which takes one connection and keeps it.
    pub(super) fn listeners(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(self.options.clone())
    }

    /// Connections for reading only, whatever the statement.
    pub(super) fn readers(&self, count: usize) -> Readers<Postgres> {
        Readers::new(self.options.clone().options([("default_transaction_read_only", "on")]), count)
    }

    async fn connect(&self, options: &PgConnectOptions) -> Result<PgConnection, OpenError> {
        let server = self.name();
        match tokio::time::timeout(CONNECTED, options.connect()).await {
            Ok(Ok(db)) => Ok(db),
            Ok(Err(error)) if may_pass(&error) => Err(self.away(&error)),
            Ok(Err(error)) => Err(OpenError::NoConnection { server, reason: one_line(&error.to_string()) }),
            Err(_) => Err(OpenError::NoConnection { server, reason: "no answer".to_owned() }),
        }
    }

    /// Opens the database. Nothing is written before all is looked at.
    pub(super) async fn open(&self, mode: OpenMode, tables: &[Table]) -> Result<PgConnection, OpenError> {
        let (mut silent, mut answering) = (Patience::of(SILENCE), self.patience());
        loop {
            let opened = self.open_once(mode, tables).await;
            let patience = match &opened {
                Err(OpenError::Away { answers: true, .. }) => &mut answering,
                Err(OpenError::Away { answers: false, .. }) => &mut silent,
                _ => return opened,
            };
            if mode == OpenMode::Tool || !patience.wait().await {
                return opened;
            }
        }
    }

    async fn open_once(&self, mode: OpenMode, tables: &[Table]) -> Result<PgConnection, OpenError> {
        let mut db = self.writer().await?;
        let migrations = migrations();
        let known = migrations.iter().map(|migration| migration.version).max().unwrap_or(0);
        let server = self.name();
        let found = self.inspect(&mut db, &migrations).await?;
        match (mode, found) {
            (_, found) if found > known => return Err(OpenError::Newer { server, found, known }),
            (OpenMode::Tool, 0) => return Err(OpenError::Missing(server)),
            (OpenMode::Tool, found) if found < known => return Err(OpenError::Older { server, found, known }),
            _ => {}
        }
        if found > 0 {
            self.check_rights(&mut db, tables).await?;
        }
        if found < known {
            self.check_may_create(&mut db).await?;
            let made = migrations.run_direct(None, &mut db, false).await;
            made.map_err(|error| self.unusable(&error.to_string()))?;
        }
        Ok(db)
    }

    /// Looks at the database, whatever its version; writes nothing.
    pub(super) async fn survey(&self) -> Result<Survey, OpenError> {
        let mut db = self.writer().await?;
        let migrations = migrations();
        let known = migrations.iter().map(|migration| migration.version).max().unwrap_or(0);
        let version = self.inspect(&mut db, &migrations).await?;
        if version > known {
            return Err(OpenError::Newer { server: self.name(), found: version, known });
        }
        let rows = if version == 0 { Ok(Vec::new()) } else { sqlx::query(sql::PINS).fetch_all(&mut db).await };
        let pins = rows.and_then(|rows| rows.iter().map(columns::pin).collect());
        Ok(Survey { version, known, pins: pins.map_err(|error| self.failed(&error))? })
    }

    /// What must be so of a server, each time that it is connected to: it may be another one.
    async fn check_server(&self, db: &mut PgConnection) -> Result<(), OpenError> {
        let (version, standby, encoding, synchronous, fsync, full_pages): (i64, bool, String, String, String, String) =
            sqlx::query_as(
                "SELECT current_setting('server_version_num')::bigint / 10000, pg_is_in_recovery(),
                        current_setting('server_encoding'), current_setting('synchronous_commit'),
                        current_setting('fsync'), current_setting('full_page_writes')",
            )
            .fetch_one(db)
            .await
            .map_err(|error| self.failed(&error))?;
        let server = self.name();
        if version < OLDEST {
            return Err(OpenError::OldServer { server, found: version, needed: OLDEST });
        }
        if standby {
            return Err(OpenError::Standby(server));
        }
        if encoding != "UTF8" {
            return Err(OpenError::Encoding { server, found: encoding });
        }
        for (setting, value) in
            [("synchronous_commit", synchronous), ("fsync", fsync), ("full_page_writes", full_pages)]
        {
            if value == "off" {
                return Err(OpenError::Unsafe { server, setting, value });
            }
        }
        Ok(())
    }

    /// The version of the schema in a database of ours, 0 when it is empty.
    async fn inspect(&self, db: &mut PgConnection, known: &Migrator) -> Result<i64, OpenError> {
        let tables: Vec<String> =
            sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()")
                .fetch_all(&mut *db)
                .await
                .map_err(|error| self.failed(&error))?;
        if tables.is_empty() {
            return Ok(0);
        }
        if !tables.iter().any(|table| table == "_sqlx_migrations") {
            return Err(OpenError::Foreign(self.name()));
        }
        let applied = sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version");
        let applied: Vec<(i64, Vec<u8>)> =
            applied.fetch_all(db).await.map_err(|error| match code(&error).as_deref() {
                Some("42501") => self.no_rights("read the table _sqlx_migrations"),
                _ => self.failed(&error),
            })?;
        for migration in known.iter() {
            let found = applied.iter().find(|(version, _)| *version == migration.version);
            if found.is_some_and(|(_, checksum)| **checksum != *migration.checksum) {
                return Err(OpenError::Foreign(self.name()));
            }
        }
        Ok(applied.last().map_or(0, |(version, _)| *version))
    }

    async fn check_rights(&self, db: &mut PgConnection, tables: &[Table]) -> Result<(), OpenError> {
        let engine = ["runs", "history", "signals", "outbox", "inbox", "owners", "journal"];
        let names: Vec<&str> = engine.into_iter().chain(tables.iter().map(|table| table.name)).collect();
        let lacking: Option<String> = sqlx::query_scalar(
            "SELECT name FROM unnest($1) AS name
             WHERE to_regclass(quote_ident(name)) IS NOT NULL
               AND NOT (has_table_privilege(quote_ident(name), 'SELECT') AND has_table_privilege(quote_ident(name), 'INSERT')
                        AND has_table_privilege(quote_ident(name), 'UPDATE') AND has_table_privilege(quote_ident(name), 'DELETE'))
             LIMIT 1",
        )
        .bind(&names)
        .fetch_optional(db)
        .await
        .map_err(|error| self.failed(&error))?;
        match lacking {
            Some(table) => Err(self.no_rights(&format!("read and write the table {table}"))),
            None => Ok(()),
        }
    }

    async fn check_may_create(&self, db: &mut PgConnection) -> Result<(), OpenError> {
        let may: Option<bool> = sqlx::query_scalar("SELECT has_schema_privilege(current_schema(), 'CREATE')")
            .fetch_one(db)
            .await
            .map_err(|error| self.failed(&error))?;
        if may == Some(true) { Ok(()) } else { Err(self.no_rights("make tables in the database's schema")) }
    }

    fn no_rights(&self, what: &str) -> OpenError {
        let role = self.options.get_username().to_owned();
        OpenError::NoRights { server: self.name(), role, what: what.to_owned() }
    }

    /// What it means that a statement failed.
    fn failed(&self, error: &Error) -> OpenError {
        if may_pass(error) { self.away(error) } else { self.unusable(&error.to_string()) }
    }

    fn away(&self, error: &Error) -> OpenError {
        let reason = one_line(&error.to_string());
        OpenError::Away { server: self.name(), reason, answers: error.as_database_error().is_some() }
    }

    pub(super) fn unusable(&self, reason: &str) -> OpenError {
        OpenError::Unusable { server: self.name(), reason: one_line(reason) }
    }
}

/// Two daemons that start at once take turns: the server has them wait for each other, no longer
/// than for any lock.
pub(super) fn migrations() -> Migrator {
    let migration = |version, name, sql| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, SqlStr::from_static(sql), false)
    };
    Migrator::with_migrations(vec![
        migration(1, "engine", include_str!("../../../migrations/postgres/0001_engine.sql")),
        migration(2, "payout", include_str!("../../../migrations/postgres/0002_payout.sql")),
        migration(3, "audit", include_str!("../../../migrations/postgres/0003_audit.sql")),
        migration(4, "retention", include_str!("../../../migrations/postgres/0004_retention.sql")),
        migration(5, "tally", include_str!("../../../migrations/postgres/0005_tally.sql")),
        migration(6, "counts", include_str!("../../../migrations/postgres/0006_counts.sql")),
    ])
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
