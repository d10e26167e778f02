//! The middleware hands its connection to the handler: to acquire another one, and to release this one, is a trip to the
//! database each.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::App;
use crate::reply::ApiError;
use crate::store::{Connection, ReadConnection};

/// The middleware's connection in the extensions of a request. It is released before the handler begins unless the handler
/// takes a [`Reader`], so that no request holds two connections.
#[derive(Clone)]
pub(super) struct HeldReader(Arc<Mutex<Option<ReadConnection>>>);

impl HeldReader {
    pub(super) fn new(conn: ReadConnection) -> Self {
        Self(Arc::new(Mutex::new(Some(conn))))
    }

    fn take(&self) -> Option<ReadConnection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A handler's connection for one statement: a second one may see more.
pub(crate) struct Reader(ReadConnection);

impl FromRequestParts<App> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let left = parts.extensions.remove::<HeldReader>();
        match left.and_then(|left| left.take()) {
            Some(conn) => Ok(Self(conn)),
            None => Ok(Self(app.store.acquire_reader().await?)),
        }
    }
}

impl Deref for Reader {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}
