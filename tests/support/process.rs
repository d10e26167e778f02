//! Child processes that end with the test, however it ends.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::wait::{SOON, eventually};

/// How a server tells that it can be reached, and where.
#[derive(Debug, Clone, Copy)]
pub struct Announcement {
    /// On standard error and not on standard output.
    pub on_stderr: bool,
    /// What stands before the address.
    pub before: &'static str,
}

/// As both our servers do it.
const LISTENING: Announcement = Announcement {
    on_stderr: false,
    before: "listening on ",
};

/// A running child. Dropping it kills it; if this process is killed first, a watchdog does.
#[derive(Debug)]
pub struct Managed {
    child: Child,
    /// Waits on this pipe, which closes with our process in any case.
    watchdog: Option<(Child, ChildStdin)>,
    /// Where the server listens.
    pub url: String,
}

impl Managed {
    /// Starts a server and waits for its line `listening on URL`. Output is appended to `NAME.out` and `NAME.err`
    /// in `dir`.
    pub async fn start(command: Command, dir: &Path, name: &str) -> Result<Self, String> {
        Self::start_other(command, dir, name, LISTENING).await
    }

    /// The same of a server that tells in another way that it can be reached.
    pub async fn start_other(
        mut command: Command,
        dir: &Path,
        name: &str,
        announcement: Announcement,
    ) -> Result<Self, String> {
        let (out, err) = files(dir, name);
        let output = if announcement.on_stderr { &err } else { &out };
        let open = |path: &PathBuf| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.map_err(|e| format!("{}: {e}", path.display()))
        };
        let before = std::fs::metadata(output).map_or(0, |m| m.len());
        command
            .stdin(Stdio::null())
            .stdout(open(&out)?)
            .stderr(open(&err)?);
        // A group of its own: Ctrl-C is for us, and we stop it in order.
        command.process_group(0);
        let child = command
            .spawn()
            .map_err(|e| format!("cannot start the {name}: {e}"))?;
        let watchdog = Some(watch(child.id())?);
        let mut managed = Self {
            child,
            watchdog,
            url: String::new(),
        };
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            if let Some(url) = announced(output, before, announcement.before) {
                managed.url = url;
                return Ok(managed);
            }
            let ended = managed.child.try_wait().map_err(|e| e.to_string())?;
            if ended.is_some() || Instant::now() > deadline {
                let state = ended.map_or("does not listen after 60 s".to_owned(), |s| {
                    format!("ended with {s}")
                });
                return Err(format!("the {name} {state}:\n{}", tail(&err, 60)));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs still.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended by itself; `None` while it runs.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end, as Kubernetes does, and waits. How it ended; an error if it did not within `patience`.
    pub async fn terminate(mut self, patience: Duration) -> Result<std::process::ExitStatus, String> {
        signal(self.child.id(), "TERM");
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().map_err(|e| e.to_string())? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(format!("still running {} s after SIGTERM", patience.as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Leaves it running when this process ends.
    #[must_use]
    pub fn detach(mut self) -> u32 {
        self.dismiss();
        let id = self.child.id();
        std::mem::forget(self);
        id
    }

    fn dismiss(&mut self) {
        if let Some((mut watchdog, mut pipe)) = self.watchdog.take() {
            let _ = pipe.write_all(b"done\n");
            drop(pipe);
            let _ = watchdog.wait();
        }
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.dismiss();
    }
}

/// Sends a signal by name.
pub fn signal(id: u32, name: &str) {
    let _ = Command::new("kill")
        .args([&format!("-{name}"), &id.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// What a process has of memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub resident: u64,
    /// Since its start.
    pub most: u64,
}

impl Memory {
    pub fn of(id: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the process runs");
        let field = |name: &str| {
            let line = status.lines().find(|l| l.starts_with(name));
            let kibibytes = line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok());
            kibibytes.expect("the kernel tells it") * 1024
        };
        Self {
            resident: field("VmRSS:"),
            most: field("VmHWM:"),
        }
    }
}

/// SIGSTOP, and that every thread has obeyed: on a busy machine they go on for a moment, and answer what comes.
pub async fn freeze(id: u32) {
    signal(id, "STOP");
    let stopped = eventually("every thread to stop", SOON, async || {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{id}/task")) else {
            return Ok(());
        };
        for thread in threads.flatten() {
            // A thread may have ended. Its state is the first word behind its name, which is in parentheses.
            let line = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            let state = line.rsplit_once(") ").map_or("T", |(_, rest)| &rest[..1]);
            if !["T", "t", "Z", "X"].contains(&state) {
                return Err(line);
            }
        }
        Ok(())
    });
    stopped.await.unwrap_or_else(|e| panic!("{e}"));
}

fn watch(id: u32) -> Result<(Child, ChildStdin), String> {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "read line; [ \"$line\" = done ] || kill -9 \"$1\"",
        "watchdog",
        &id.to_string(),
    ]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let mut child = command
        .spawn()
        .map_err(|e| format!("cannot start a watchdog: {e}"))?;
    let pipe = child.stdin.take().ok_or("a watchdog without a pipe")?;
    Ok((child, pipe))
}

/// Files of a child's standard output and standard error.
#[must_use]
pub fn files(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    (dir.join(format!("{name}.out")), dir.join(format!("{name}.err")))
}

fn announced(output: &Path, before: u64, words: &str) -> Option<String> {
    let text = std::fs::read(output).ok()?;
    let fresh = text.get(usize::try_from(before).ok()?..)?;
    let fresh = String::from_utf8_lossy(fresh);
    // Only whole lines.
    let (lines, _) = fresh.rsplit_once('\n')?;
    lines
        .lines()
        .find_map(|l| l.split_once(words)?.1.split_whitespace().next())
        .map(str::to_owned)
}

/// The last lines of a file.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path)
        .map(|t| String::from_utf8_lossy(&t).into_owned())
        .unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
