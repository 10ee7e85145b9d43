//! How many packets went out by each link, the gateway's and those of whoever it forwards for.
//!
//! Neighbour discovery and the membership of multicast groups are not counted, as ARP is not: they carry nothing of anybody.
//! Nor is what the kernel says to an answer of a name server that comes when nobody waits for it any more.
//!
//! A link that was still while something was done has to stay still until the test uses it, or ends: a packet that comes
//! late is seen by the next look, and by the last one.

use std::sync::Mutex;

use crate::kit::within;
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
    icmp type destination-unreachable icmp code port-unreachable accept
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

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Managed => Self::Delegated,
            Self::Delegated => Self::Managed,
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
    pub fn counters(&self) -> Counters {
        let count = |name| self.gate.counted("links", name);
        Counters { managed: count("managed"), delegated: count("delegated") }
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
        self.counters()
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
        let (did, sent) = self.watched(&[link.other()], act).await;
        assert!(sent.by(link).0 > 0, "nothing went by {link:?}: {sent:?}");
        did
    }

    /// Does this, and fails if a packet goes by either link.
    pub async fn by_none<T>(&self, act: impl AsyncFnOnce() -> T) -> T {
        self.watched(&[Link::Managed, Link::Delegated], act).await.0
    }

    /// Does this, and fails if a packet goes by this link, whatever goes by the other.
    pub async fn not_by<T>(&self, link: Link, act: impl AsyncFnOnce() -> T) -> T {
        self.watched(&[link], act).await.0
    }

    /// Does this, and fails if a packet goes by one of these links, here or before the test uses it again; and what went.
    async fn watched<T>(&self, still: &[Link], act: impl AsyncFnOnce() -> T) -> (T, Counters) {
        let before = self.settled().await;
        self.held.check(before);
        let did = act().await;
        let after = self.counters();
        self.held.hold(still, before);
        self.held.check(after);
        (did, after.since(before))
    }
}

/// How many packets each link has carried since when it has to be still; None: it may be used.
#[derive(Default)]
pub struct Held(Mutex<[Option<u64>; 2]>);

impl Held {
    /// From here on these links have to be still, and the others may be used.
    fn hold(&self, links: &[Link], count: Counters) {
        let of = |link| links.contains(&link).then(|| count.by(link).0);
        *self.0.lock().expect("no panic inside") = [of(Link::Managed), of(Link::Delegated)];
    }

    /// The test itself uses this link.
    pub fn release(&self, link: Link) {
        self.0.lock().expect("no panic inside")[usize::from(link == Link::Delegated)] = None;
    }

    /// Fails where a link was not still.
    pub fn check(&self, count: Counters) {
        let held = *self.0.lock().expect("no panic inside");
        for (link, before) in [Link::Managed, Link::Delegated].into_iter().zip(held) {
            let now = count.by(link).0;
            assert!(before.is_none_or(|before| before == now), "{link:?} was to be still: {before:?}, {now}");
        }
    }
}

impl Drop for TwoUplinks {
    /// Looks a last time.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.held.check(self.counters());
    }
}
