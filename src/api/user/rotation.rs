//! When a token is replaced.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::Duration;

/// When a token is replaced.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.windows) || size(self.windows) == 0 || has(self.every)").message("rotation.windows needs rotation.every: windows say when a token that is old enough is replaced").field_path(".windows"))]
#[x_kube(validation = Rule::new("!has(self.every) || duration(has(self.overlap) ? self.overlap : '24h') < duration(self.every)").message("rotation.overlap, 24h by default, has to be shorter than rotation.every, or more and more old tokens stay valid").field_path(".overlap"))]
#[x_kube(validation = Rule::new("!has(self.waitForConsumers) || !self.waitForConsumers || has(self.maxOverlap)").message("rotation.waitForConsumers needs rotation.maxOverlap: without a bound a rollout that is stuck would keep an old token valid for ever").field_path(".maxOverlap"))]
#[x_kube(validation = Rule::new("!has(self.maxOverlap) || (has(self.waitForConsumers) && self.waitForConsumers)").message("rotation.maxOverlap needs rotation.waitForConsumers: true; without it rotation.overlap says how long the old token stays valid").field_path(".maxOverlap"))]
#[x_kube(validation = Rule::new("!has(self.maxOverlap) || duration(self.maxOverlap) >= duration(has(self.overlap) ? self.overlap : '24h')").message("rotation.maxOverlap has to be as long as rotation.overlap, 24h by default, or longer").field_path(".maxOverlap"))]
#[x_kube(validation = Rule::new("!has(self.maxOverlap) || !has(self.every) || duration(self.maxOverlap) < duration(self.every)").message("rotation.maxOverlap has to be shorter than rotation.every, or more and more old tokens stay valid").field_path(".maxOverlap"))]
pub struct Rotation {
    /// Age at which a token is replaced, by the platform's clock. Up to a tenth of it earlier, by a share that is
    /// fixed for each token, so that not all are replaced at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m')").message("rotation.every has to be 1m or longer"))]
    pub every: Option<Duration>,
    /// How long the old token stays valid beside the new one. Default 24h: environment variables of running pods
    /// never change. Shorter than `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Duration>,
    /// Keep the old token valid after the overlap, too, while a pod runs that reads the Secret and was there before it
    /// changed; needs `maxOverlap`. `revoke-now` and `expireAt` do not wait.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wait_for_consumers: bool,
    /// The old token dies after this at the latest, also if pods still use it. At least `overlap`; shorter than `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_overlap: Option<Duration>,
    /// Replace by age only within these; a token that would become older than the class's `maxAge` does not wait for one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub windows: Vec<RotationWindow>,
}

/// A repeated span of time.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RotationWindow {
    /// Start, as five cron fields: minute (0-59), hour (0-23), day of month (1-31; `L` is the last), month (1-12 or
    /// JAN-DEC), day of week (0-7 or SUN-SAT; 0 and 7 are Sunday; `FRI#2` is the second Friday of the month, `FRIL` the
    /// last). Each is `*`, or a list of values and ranges, with steps behind a `/`. If both kinds of days are restricted,
    /// either is enough. A start that clocks skip is the moment at which they go on; one that they show twice is the first
    /// of the two. Fields that cannot be read, or that no day has within 40 years, are refused with the reason `InvalidSpec`.
    #[schemars(length(min = 9, max = 128))]
    pub cron: String,
    /// IANA name, such as `Europe/Berlin`. Default UTC. An unknown one is refused with the reason `InvalidSpec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub time_zone: Option<String>,
    /// How long it stays open; a week at most.
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('168h')").message("the duration of a rotation window is longer than 0s and at most 168h"))]
    pub duration: Duration,
}
