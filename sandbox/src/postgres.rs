//! A private Postgres cluster for tests and benches: made in a temporary folder, reached over a Unix socket only, and gone
//! when dropped. The server refuses to run as root, so root lends it another user.
//!
//! ```no_run
//! let postgres = sandbox::postgres::TestPostgres::start().unwrap();
//! let url = postgres.url(); // for sqlx, psql, or a program under test
//! ```

use std::{
    ffi::OsStr,
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

/// How a cluster is made and run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether a commit waits for the disk. Tests that kill the server need it; others are faster without.
    pub fsync: bool,
    /// Listen on a TCP port of 127.0.0.1, too (a free one), for programs that cannot use a Unix socket.
    pub tcp: bool,
    /// More settings, `name=value`.
    pub settings: Vec<String>,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error("no PostgreSQL server found: its initdb is neither on the PATH nor under /usr/lib/postgresql (package postgresql)")]
    NotInstalled,
    #[error("{what} failed: {output}")]
    Command { what: &'static str, output: String },
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> PostgresError {
    move |source| PostgresError::Io { what, source }
}

/// A running cluster with an empty database `concord`, owned by the role `concord`. Dropping it stops the server and
/// removes every file.
#[derive(Debug)]
pub struct TestPostgres {
    folder: tempfile::TempDir,
    programs: PathBuf,
    owner: Option<(u32, u32)>,
    port: u16,
    tcp: bool,
    options: String,
    databases: AtomicUsize,
}

impl TestPostgres {
    /// A cluster with default [`Options`].
    pub fn start() -> Result<Self, PostgresError> {
        Self::start_with(&Options::default())
    }

    /// Makes a cluster and starts it.
    pub fn start_with(options: &Options) -> Result<Self, PostgresError> {
        let programs = programs()?;
        // Short: a socket's path has at most 107 bytes.
        let folder = tempfile::Builder::new().prefix("cpg").tempdir_in("/tmp").map_err(io_error("a temporary folder"))?;
        let owner = lend_to(folder.path())?;
        // Without TCP the number only names the socket's file.
        let port = if options.tcp { free_port()? } else { 5432 };
        let mut settings = vec![
            format!("listen_addresses={}", if options.tcp { "127.0.0.1" } else { "" }),
            format!("port={port}"),
            format!("unix_socket_directories={}", folder.path().display()),
            "max_connections=60".into(),
        ];
        if !options.fsync {
            settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(String::from));
        }
        settings.extend(options.settings.iter().cloned());
        let options_text = settings.iter().map(|s| format!("-c '{s}'")).collect::<Vec<_>>().join(" ");
        let postgres =
            TestPostgres { folder, programs, owner, port, tcp: options.tcp, options: options_text, databases: AtomicUsize::new(0) };
        let data = postgres.data();
        postgres.run(
            "initdb",
            [
                OsStr::new("-D"),
                data.as_os_str(),
                OsStr::new("-U"),
                OsStr::new("concord"),
                OsStr::new("--auth=trust"),
                OsStr::new("--encoding=UTF8"),
                OsStr::new("--no-locale"),
                OsStr::new("--no-sync"),
            ],
        )?;
        postgres.launch()?;
        postgres.run_sql("create database concord")?;
        Ok(postgres)
    }

    /// The URL of the database `concord`.
    pub fn url(&self) -> String {
        self.url_of("concord")
    }

    /// A new, empty database in this cluster, and its URL: tests that share a cluster need not share data.
    pub fn new_database(&self) -> Result<String, PostgresError> {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run_sql(&format!("create database {name}"))?;
        Ok(self.url_of(&name))
    }

    fn url_of(&self, database: &str) -> String {
        if self.tcp {
            return format!("postgres://concord@127.0.0.1:{}/{database}", self.port);
        }
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://concord@{folder}:{}/{database}", self.port)
    }

    /// The folder of its Unix socket (`psql -h`).
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops the server as a power cut would: no checkpoint, clients cut off. [`TestPostgres::launch`] starts it again.
    pub fn kill(&self) -> Result<(), PostgresError> {
        self.stop("immediate")
    }

    /// Starts the server that [`TestPostgres::kill`] stopped.
    pub fn launch(&self) -> Result<(), PostgresError> {
        let (data, log) = (self.data(), self.folder.path().join("log"));
        self.run(
            "pg_ctl",
            [
                OsStr::new("start"),
                OsStr::new("-w"),
                OsStr::new("-D"),
                data.as_os_str(),
                OsStr::new("-l"),
                log.as_os_str(),
                OsStr::new("-o"),
                OsStr::new(&self.options),
            ],
        )
    }

    fn stop(&self, mode: &str) -> Result<(), PostgresError> {
        let data = self.data();
        self.run("pg_ctl", [OsStr::new("stop"), OsStr::new("-w"), OsStr::new("-m"), OsStr::new(mode), OsStr::new("-D"), data.as_os_str()])
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run_sql(&self, sql: &str) -> Result<(), PostgresError> {
        let port = self.port.to_string();
        self.run(
            "psql",
            [
                OsStr::new("-qAt"),
                OsStr::new("-h"),
                self.folder.path().as_os_str(),
                OsStr::new("-p"),
                OsStr::new(&port),
                OsStr::new("-U"),
                OsStr::new("concord"),
                OsStr::new("-d"),
                OsStr::new("postgres"),
                OsStr::new("-c"),
                OsStr::new(sql),
            ],
        )
    }

    fn run<'a>(&self, program: &'static str, arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<(), PostgresError> {
        let mut command = match self.owner {
            None => Command::new(self.programs.join(program)),
            Some((user, group)) => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={user}")).arg(format!("--regid={group}")).arg("--clear-groups");
                command.arg(self.programs.join(program));
                command
            }
        };
        // pg_ctl's server inherits what it is given: a pipe would stay open as long as the server runs.
        let log = self.folder.path().join(format!("{program}.out"));
        let output = std::fs::File::create(&log).map_err(io_error("a log file"))?;
        let errors = output.try_clone().map_err(io_error("a log file"))?;
        let status = command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("LC_ALL", "C")
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .status()
            .map_err(io_error(program))?;
        if status.success() {
            return Ok(());
        }
        let mut output = std::fs::read_to_string(&log).unwrap_or_default();
        if let Ok(log) = std::fs::read_to_string(self.folder.path().join("log")) {
            output.push_str(&log);
        }
        Err(PostgresError::Command { what: program, output: output.trim().to_string() })
    }
}

impl Drop for TestPostgres {
    fn drop(&mut self) {
        // Nothing of it is kept, so nothing needs to be written first.
        if let Err(error) = self.stop("immediate") {
            tracing::debug!(%error, "the test cluster was not running");
        }
    }
}

/// Root gives the folder to `postgres`, or else to `nobody`; anybody else keeps it.
fn lend_to(folder: &Path) -> Result<Option<(u32, u32)>, PostgresError> {
    if std::fs::metadata("/proc/self").map_err(io_error("/proc/self"))?.uid() != 0 {
        return Ok(None);
    }
    let accounts = std::fs::read_to_string("/etc/passwd").map_err(io_error("/etc/passwd"))?;
    let find = |name: &str| {
        accounts.lines().find_map(|line| {
            let mut parts = line.split(':');
            (parts.next() == Some(name)).then(|| Some((parts.nth(1)?.parse().ok()?, parts.next()?.parse().ok()?)))?
        })
    };
    let (user, group) = find("postgres").or_else(|| find("nobody")).unwrap_or((65534, 65534));
    std::os::unix::fs::chown(folder, Some(user), Some(group)).map_err(io_error("chown"))?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(io_error("chmod"))?;
    Ok(Some((user, group)))
}

/// Where initdb, pg_ctl and psql are: the newest under /usr/lib/postgresql, else on the PATH.
fn programs() -> Result<PathBuf, PostgresError> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin): &(u32, PathBuf)| bin.join("initdb").exists())
        .collect();
    found.sort();
    if let Some((_, bin)) = found.pop() {
        return Ok(bin);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).find(|bin| bin.join("initdb").exists()).ok_or(PostgresError::NotInstalled)
}

fn free_port() -> Result<u16, PostgresError> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(io_error("a free port"))?;
    Ok(listener.local_addr().map_err(io_error("a free port"))?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_starts_survives_a_kill_and_leaves_nothing() {
        let postgres = TestPostgres::start_with(&Options { tcp: true, ..Options::default() }).unwrap();
        let folder = postgres.socket_folder().to_path_buf();
        postgres.new_database().unwrap();
        postgres.kill().unwrap();
        postgres.launch().unwrap();
        assert!(postgres.url().starts_with("postgres://concord@127.0.0.1:"));
        drop(postgres);
        assert!(!folder.exists());
    }
}
