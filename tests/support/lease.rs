//! The connection to a running control plane; it lives as long as a client holds one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::Deserialize;

/// What the control plane says of itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Info {
    /// Client configuration of an administrator.
    pub kubeconfig: String,
    /// URL of the API server.
    pub server: String,
    /// URL of a second API server over the same etcd; `control start kube-apiserver-2` first.
    pub second_server: String,
    pub kubectl: String,
    /// Whether pods run.
    pub node: bool,
    pub node_reason: String,
    /// The address of this host that pods reach.
    pub host_address: String,
    pub audit_log: String,
    pub run_dir: String,
    pub log_dir: String,
    pub version: String,
    pub processes: Vec<String>,
    /// Why there is no control plane.
    pub error: String,
}

/// A held lease.
#[derive(Debug)]
pub struct Lease {
    stream: BufReader<UnixStream>,
}

#[derive(Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    error: String,
}

impl Lease {
    /// Connects and waits until the control plane is ready. `None`: there is none, or it is on its way down.
    pub fn hold(run: &Path) -> Result<Option<(Self, Info)>, String> {
        let Ok(path) = run.join("lease.sock").canonicalize() else {
            return Ok(None);
        };
        let Ok(stream) = UnixStream::connect(path) else {
            return Ok(None);
        };
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        if stream.read_line(&mut line).unwrap_or(0) == 0 {
            return Ok(None);
        }
        let info: Info =
            serde_json::from_str(&line).map_err(|e| format!("the control plane's line is no JSON: {e}"))?;
        if info.error.is_empty() {
            Ok(Some((Self { stream }, info)))
        } else {
            Err(format!("the control plane failed: {}", info.error))
        }
    }

    /// Stops, kills, freezes, … one process of the control plane.
    pub fn control(&mut self, verb: &str, process: &str) -> Result<(), String> {
        let request = serde_json::json!({"do": verb, "process": process});
        let io = |e: std::io::Error| format!("{verb} {process}: the control plane is gone: {e}");
        writeln!(self.stream.get_mut(), "{request}").map_err(io)?;
        let mut line = String::new();
        self.stream.read_line(&mut line).map_err(io)?;
        let answer: Answer = serde_json::from_str(&line).map_err(|e| format!("{verb} {process}: {e}"))?;
        if answer.ok {
            Ok(())
        } else {
            Err(format!("{verb} {process}: {}", answer.error))
        }
    }
}
