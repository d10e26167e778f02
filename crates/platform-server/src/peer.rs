//! The network address of a client.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::Extensions;

use crate::connections::network;

/// The address of the other side of a connection. Headers such as `X-Forwarded-For` are not read: any client can send them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Peer(IpAddr);

impl Peer {
    pub(super) fn new(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// Of a request: that of its connection, or that which the console gave to a request of its own.
    pub(super) fn of(extensions: &Extensions) -> Option<Self> {
        let given = extensions.get::<Self>().copied();
        given.or_else(|| {
            let ConnectInfo(address) = extensions.get::<ConnectInfo<SocketAddr>>()?;
            Some(Self::new(address.ip()))
        })
    }

    /// See [`network`].
    pub(super) fn network(self) -> String {
        match network(self.0) {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("{address}/64"),
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
