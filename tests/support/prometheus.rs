//! A Prometheus that reads the metrics and evaluates the chart's alerts.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::cluster::root;
use super::process::{Announcement, Managed};

/// What Debian's Prometheus says when it listens.
const LISTENING: Announcement = Announcement {
    on_stderr: true,
    before: "msg=\"Listening on\" address=",
};

/// Reads every second.
pub struct Prometheus {
    url: String,
    http: reqwest::Client,
    _process: Managed,
}

/// One series of an answer, and its value.
#[derive(Debug, Clone)]
pub struct Sample {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Prometheus {
    /// Starts one that reads from these addresses, such as `http://127.0.0.1:4711`.
    pub async fn start(dir: &Path, targets: &[String]) -> Result<Self, String> {
        let dir = dir.join("prometheus");
        std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let targets: Vec<&str> = targets.iter().map(|t| t.trim_start_matches("http://")).collect();
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [root().join("charts/programmatic-users/files/alerts.yaml")],
            "scrape_configs": [{"job_name": "programmatic-users", "static_configs": [{"targets": targets}]}],
        });
        // JSON is YAML.
        let file = dir.join("prometheus.yaml");
        std::fs::write(&file, config.to_string()).map_err(|e| format!("{}: {e}", file.display()))?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0");
        let process = Managed::start_other(command, &dir, "prometheus", LISTENING)
            .await
            .map_err(|e| {
                format!("{e} (it is in Debian's package prometheus; tests/prerequisites.sh installs it)")
            })?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .map_err(|e| e.to_string())?;
        Ok(Self {
            url: format!("http://{}", process.url),
            http,
            _process: process,
        })
    }

    async fn ask(&self, path: &str, form: &[(&str, String)]) -> Result<Value, String> {
        let url = url::Url::parse_with_params(&format!("{}/api/v1/{path}", self.url), form)
            .map_err(|e| e.to_string())?;
        let reply = self.http.get(url).send().await.map_err(|e| e.to_string())?;
        let text = reply.text().await.map_err(|e| e.to_string())?;
        let body: Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
        if body["status"] == "success" {
            Ok(body["data"].clone())
        } else {
            Err(format!("{form:?}: {}", body["error"]))
        }
    }

    /// What an expression gives now.
    pub async fn query(&self, expression: &str) -> Result<Vec<Sample>, String> {
        let data = self.ask("query", &[("query", expression.to_owned())]).await?;
        let series = data["result"].as_array().cloned().unwrap_or_default();
        Ok(series.iter().filter_map(sample).collect())
    }

    /// How many series an expression gave within the last `seconds`.
    pub async fn series_within(&self, expression: &str, seconds: i64) -> Result<usize, String> {
        let now = jiff::Timestamp::now().as_second();
        let form = [
            ("query", expression.to_owned()),
            ("start", (now - seconds).to_string()),
            ("end", now.to_string()),
            ("step", "1".to_owned()),
        ];
        let data = self.ask("query_range", &form).await?;
        Ok(data["result"].as_array().map_or(0, Vec::len))
    }

    /// State of each alert: `inactive`, or `pending` from the moment when its expression holds.
    pub async fn alerts(&self) -> Result<BTreeMap<String, String>, String> {
        let data = self.ask("rules", &[("type", "alert".to_owned())]).await?;
        let groups = data["groups"].as_array().cloned().unwrap_or_default();
        let rules = groups
            .iter()
            .flat_map(|g| g["rules"].as_array().cloned().unwrap_or_default());
        rules
            .map(|rule| {
                let text = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
                if rule["health"] == "err" {
                    return Err(format!("{}: {}", text("name"), rule["lastError"]));
                }
                Ok((text("name"), text("state")))
            })
            .collect()
    }
}

fn sample(series: &Value) -> Option<Sample> {
    let labels = series["metric"].as_object()?.iter();
    Some(Sample {
        labels: labels
            .map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()))
            .collect(),
        value: series["value"][1].as_str()?.parse().ok()?,
    })
}
