//! Bounds of a server that is open to the network: connections of one network and in all, and no requests that give their
//! length in two ways.
//!
//! The probes of the operator use them too.

mod framing;

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use axum_server::accept::Accept;
use tokio::net::TcpStream;
use tokio_util::io::InspectReader;

pub use framing::{Checked, Contradictory};

/// The smallest network that has one owner: an address of IPv4, a /64 of IPv6.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
    }
}

type Held = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Accepts a bounded number of connections at once, and a share of it from one network. It closes those beyond without an
/// answer: a server that answered them would hold them for as long.
#[derive(Debug, Clone)]
pub struct Bounded {
    most: usize,
    share: usize,
    held: Held,
}

impl Bounded {
    /// `most` in all, `share` of one network.
    #[must_use]
    pub fn new(most: usize, share: usize) -> Self {
        Self {
            most,
            share: share.max(1),
            held: Held::default(),
        }
    }

    fn admit(&self, network: IpAddr) -> Option<Admission> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = held.values().sum();
        let own = held.get(&network).copied().unwrap_or_default();
        if all >= self.most || own >= self.share {
            return None;
        }
        held.insert(network, own + 1);
        Some(Admission {
            network,
            held: self.held.clone(),
        })
    }
}

/// The permit of one connection, given back when it ends.
#[derive(Debug)]
struct Admission {
    network: IpAddr,
    held: Held,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = held.get_mut(&self.network) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.network);
            }
        }
    }
}

/// Called with the bytes of each read. It is dropped with its connection, and what it holds with it.
type OnRead = Box<dyn FnMut(&[u8]) + Send>;

impl<S> Accept<TcpStream, S> for Bounded {
    /// A connection that keeps its permit.
    type Stream = InspectReader<TcpStream, OnRead>;
    type Service = S;
    type Future = Ready<io::Result<(Self::Stream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let admitted = stream.peer_addr().and_then(|peer| {
            let admission = self.admit(network(peer.ip()));
            let admission = admission.ok_or_else(|| io::Error::other("too many connections"))?;
            stream.set_nodelay(true)?;
            let hold: OnRead = Box::new(move |_| {
                let _ = &admission;
            });
            Ok(InspectReader::new(stream, hold))
        });
        ready(admitted.map(|stream| (stream, service)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Bounded, network};

    #[test]
    fn a_network_has_its_share_and_no_more() {
        let bounded = Bounded::new(3, 2);
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = bounded.admit(one).unwrap();
        let _second = bounded.admit(one).unwrap();
        assert!(bounded.admit(one).is_none());
        let _third = bounded.admit(other).unwrap();
        assert!(bounded.admit(other).is_none(), "there are three in all");
        drop(first);
        assert!(bounded.admit(other).is_some());
    }

    #[test]
    fn a_network_is_an_address_of_version_4_or_64_bits_of_version_6() {
        for (address, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ] {
            assert_eq!(network(address.parse().unwrap()).to_string(), expected);
        }
    }
}
