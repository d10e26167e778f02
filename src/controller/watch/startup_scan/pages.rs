//! A list in pages, which are read up to a number of bytes.

use std::marker::PhantomData;
use std::pin::pin;
use std::time::Duration;

use futures::AsyncReadExt as _;
use kube::api::ListParams;
use kube::core::{ObjectList, Request};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::controller::error::Error;

/// Objects of a page at most. For each page the API server reads the keys of all.
const PAGE: u32 = 500;
/// Bytes of a page at most: one that has more is asked for again with fewer objects. A single object has less than two MiB.
const LARGEST: usize = 8 << 20;
/// How long the next thing is waited for, be it a page or an event of the watch of the Secrets. Users whose lists do
/// not come are reconciled without them.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The pages of a list, one after the other, in the order of namespaces and names.
pub(super) struct Pages<K> {
    client: Client,
    path: String,
    pub(super) params: ListParams,
    pub(super) more: bool,
    /// Namespace and name of the last object.
    pub(super) last: String,
    kind: PhantomData<K>,
}

impl<K> Pages<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned,
{
    pub(super) fn new(client: &Client, namespace: Option<&str>) -> Self {
        Self {
            client: client.clone(),
            path: K::url_path(&(), namespace),
            params: ListParams::default().limit(PAGE),
            more: true,
            last: String::new(),
            kind: PhantomData,
        }
    }

    pub(super) async fn next(&mut self, doing: &'static str) -> Result<Vec<K>, Error> {
        let page = loop {
            let page = timeout(PATIENCE, self.read()).await;
            let page = page.map_err(|_| Error::Kube(doing, "no answer".to_owned()))?;
            if let Some(page) = page.map_err(Error::from_kube(doing))? {
                break page;
            }
            match self.params.limit {
                Some(limit) if limit > 1 => self.params.limit = Some(limit.div_ceil(8)),
                _ => return Err(Error::Kube(doing, "one object is too large".to_owned())),
            }
        };
        if let Some(last) = page.items.last() {
            self.last = format!("{}/{}", last.namespace().unwrap_or_default(), last.name_any());
        }
        self.params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        self.more = self.params.continue_token.is_some();
        Ok(page.items)
    }

    /// One page; `None`: it has too many bytes. Never what the library's own list would do with one that it cannot read,
    /// which is to write it into the log.
    async fn read(&mut self) -> kube::Result<Option<ObjectList<K>>> {
        let request = Request::new(&self.path).list(&self.params);
        let request = request.map_err(kube::Error::BuildRequest)?;
        let mut bytes = Vec::new();
        let reply = pin!(self.client.request_stream(request).await?);
        // The largest page and one byte: what lies beyond is not asked for.
        let mut reply = reply.take(LARGEST as u64 + 1);
        reply
            .read_to_end(&mut bytes)
            .await
            .map_err(kube::Error::ReadEvents)?;
        if bytes.len() > LARGEST {
            return Ok(None);
        }
        if bytes.len() < LARGEST / 4 {
            self.params.limit = self.params.limit.map(|limit| PAGE.min(limit * 2));
        }
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(kube::Error::SerdeError)
    }
}
