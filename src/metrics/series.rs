//! A metric by labels, of which whole organizations can be dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Like the library's `Family`, which can drop one set of labels only if all of it is known.
pub(super) struct Series<S, M> {
    all: Arc<Mutex<BTreeMap<S, M>>>,
    fresh: fn() -> M,
}

impl<S, M> Clone for Series<S, M> {
    fn clone(&self) -> Self {
        Self {
            all: self.all.clone(),
            fresh: self.fresh,
        }
    }
}

impl<S, M> fmt::Debug for Series<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").finish_non_exhaustive()
    }
}

impl<S: Ord, M> Series<S, M> {
    /// None yet; `fresh` makes one.
    pub(super) fn new(fresh: fn() -> M) -> Self {
        Self {
            all: Arc::default(),
            fresh,
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<S, M>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the metric with these labels, which is made if it is missing.
    pub(super) fn with(&self, labels: S, act: impl FnOnce(&M)) {
        act(self.all().entry(labels).or_insert_with(self.fresh));
    }

    /// The labels of those that there are.
    pub(super) fn labels(&self) -> Vec<S>
    where
        S: Clone,
    {
        self.all().keys().cloned().collect()
    }

    /// Drops those that are not wanted any more.
    pub(super) fn retain(&self, wanted: impl Fn(&S) -> bool) {
        self.all().retain(|labels, _| wanted(labels));
    }
}

impl<S, M> EncodeMetric for Series<S, M>
where
    S: EncodeLabelSet + Ord,
    M: EncodeMetric + TypedMetric,
{
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        for (labels, metric) in self.all().iter() {
            metric.encode(encoder.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}
