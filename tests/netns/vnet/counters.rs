//! How many packets went out by each link, the gateway's and those of whoever it forwards for.
//!
//! Neighbour discovery and the membership of multicast groups are not counted, as ARP is not: they carry nothing of anybody.

use serde_json::Value;

use crate::kit::within;
use crate::namespace::Namespace;
use crate::vnet::topology::TwoUplinks;

/// Counts what leaves by either link. Last of all, so that nothing takes a packet away behind it.
pub const LINKS: &str = r#"
table inet links {
  counter managed { }
  counter delegated { }
  chain out {
    type filter hook postrouting priority 500; policy accept;
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld-listener-report, mld2-listener-report } accept
    meta l4proto igmp accept
    oifname "up0" counter name managed
    oifname "eth1" counter name delegated
  }
}
"#;

/// Which addresses the gateway sends from by its uplinks.
const OWN: &str = "src 93.184.216.1 or src 10.20.0.4 or src [2600:1f18::1] or src [fd00:20::4]";

/// One of the two ways out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// `up0`, into the internet.
    Managed,
    /// `eth1`, into the private network.
    Delegated,
}

impl Link {
    /// What `route` and `network` of a record say for it.
    pub const fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::Managed => ("managed", "managed"),
            Self::Delegated => ("delegated", "prod"),
        }
    }

    /// What an origin on it says.
    pub const fn says(self) -> &'static str {
        self.told().0
    }
}

/// Packets that have gone out so far, or between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// By `up0`.
    pub managed: u64,
    /// By `eth1`.
    pub delegated: u64,
}

impl Counters {
    /// Not one packet by either link.
    pub const STILL: Self = Self { managed: 0, delegated: 0 };

    /// What went out since an earlier look.
    pub const fn since(self, before: Self) -> Self {
        Self { managed: self.managed - before.managed, delegated: self.delegated - before.delegated }
    }

    /// How many by a link, and how many by the other.
    pub const fn by(self, link: Link) -> (u64, u64) {
        match link {
            Link::Managed => (self.managed, self.delegated),
            Link::Delegated => (self.delegated, self.managed),
        }
    }
}

impl TwoUplinks {
    /// What has gone out so far.
    pub async fn counters(&self) -> Counters {
        let count = async |name| count(&self.gate, "links", name).await;
        Counters { managed: count("managed").await, delegated: count("delegated").await }
    }

    /// The same once no connection of the gateway by an uplink is open or half closed: from here on nothing more is to
    /// come of what was done before.
    pub async fn settled(&self) -> Counters {
        let closed = async {
            while !self.open_upstream().await.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        within("every connection of the gateway to be closed", closed).await;
        self.counters().await
    }

    /// The connections of the gateway by its uplinks.
    pub async fn open_upstream(&self) -> Vec<String> {
        let listed = self.gate.run("ss", ["-Htan", OWN]).await;
        assert_eq!(listed.code, 0, "{}", listed.stderr);
        let over = |line: &&str| line.starts_with("TIME-WAIT") || line.starts_with("LISTEN");
        listed.stdout.lines().filter(|line| !over(line)).map(str::to_owned).collect()
    }

    /// Does this, and fails unless packets went by this link and not one by the other.
    pub async fn only_by<T>(&self, link: Link, act: impl AsyncFnOnce() -> T) -> T {
        let before = self.settled().await;
        let did = act().await;
        let sent = self.counters().await.since(before);
        assert!(sent.by(link).0 > 0, "nothing went by {link:?}: {sent:?}");
        assert_eq!(sent.by(link).1, 0, "only {link:?} was to be used: {sent:?}");
        did
    }

    /// Does this, and fails if a packet goes by either link.
    pub async fn by_none<T>(&self, act: impl AsyncFnOnce() -> T) -> T {
        let before = self.settled().await;
        let did = act().await;
        assert_eq!(self.counters().await.since(before), Counters::STILL);
        did
    }

    /// Does this, and fails if a packet goes by this link, whatever goes by the other.
    pub async fn not_by<T>(&self, link: Link, act: impl AsyncFnOnce() -> T) -> T {
        let before = self.settled().await;
        let did = act().await;
        let sent = self.counters().await.since(before);
        assert_eq!(sent.by(link).0, 0, "{link:?} was not to be used: {sent:?}");
        did
    }
}

/// The packets of a named counter.
pub async fn count(namespace: &Namespace, table: &str, name: &str) -> u64 {
    let listed = namespace.run("nft", ["-j", "list", "counter", "inet", table, name]).await;
    let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    listed["nftables"][1]["counter"]["packets"].as_u64().expect("a number")
}
