//! The ways in, as a sandbox uses them, and what the records say afterwards.

use serde_json::Value;

use crate::kit::client::{Client, Response};
use crate::tls::hello;
use crate::topology::FOREIGN;
use crate::vnet::counters::Link;
use crate::vnet::topology::TwoUplinks;

/// Where sandbox 1 finds the explicit proxy.
pub const PROXY: &str = "10.200.1.1:3128";

impl TwoUplinks {
    /// A tunnel for this authority that has carried a hello for the name and what the origin said to it: its path.
    pub async fn hello(&self, name: &str, link: Link) -> Client {
        self.held.release(link);
        let mut tunnel = self.tunnel(&format!("{name}:443"), name).await.unwrap_or_else(|refused| {
            panic!("no tunnel to {name}: {}{}", refused.head, refused.body);
        });
        tunnel.expect(link.says()).await;
        tunnel.expect(hello(Some(name), &[])).await;
        tunnel
    }

    /// A tunnel that was opened and has sent a hello for this name; the answer is given back when it is refused.
    pub async fn tunnel(&self, authority: &str, name: &str) -> Result<Client, Response> {
        let mut client = self.connect(PROXY);
        client.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
        let head = client.head().await;
        if !head.starts_with("HTTP/1.1 200") {
            let body = String::from_utf8_lossy(&client.expect_closed().await).into_owned();
            let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
            return Err(Response { status, head, body, raw_body: Vec::new() });
        }
        let _may_be_refused = client.try_send(hello(Some(name), &[])).await;
        Ok(client)
    }

    /// Asks the proxy for a URL in absolute form, and gives the answer and the record of it.
    pub async fn get(&self, url: &str) -> (Response, Value) {
        let host = url.trim_start_matches("http://").split('/').next().expect("a host");
        let mut client = self.connect(PROXY);
        let from = client.local().to_string();
        let request = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = client.ask(request).await;
        (answer, self.record_of(&from).await)
    }

    /// A redirected connection for this name that has carried a hello and what the origin said to it: its path.
    pub async fn redirected(&self, name: &str, link: Link) -> Client {
        self.held.release(link);
        let mut client = self.sandbox(1).connect_saying(&format!("{FOREIGN}:443"), &hello(Some(name), &[]));
        client.expect(link.says()).await;
        client.expect(hello(Some(name), &[])).await;
        client
    }

    /// Asks for a tunnel for this authority, says a hello for the name in it, and gives the record of its denial or failure.
    pub async fn refused(&self, authority: &str, name: Option<&str>) -> Value {
        let mut client = self.connect(PROXY);
        let from = client.local().to_string();
        client.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
        // Told at once, or only where the hello was read.
        if client.expect_closed_or_head().await.starts_with("HTTP/1.1 200") {
            let said = name.map_or_else(|| b"\0\x01opaque".to_vec(), |name| hello(Some(name), &[]));
            let _may_be_closed = client.try_send(said).await;
            client.expect_closed().await;
        }
        self.record_of(&from).await
    }

    /// A tunnel to an address, which has carried what the origin said to it: its path.
    pub async fn literal(&self, authority: &str, link: Link) -> Client {
        self.held.release(link);
        let mut client = self.connect(PROXY);
        client.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200"), "{authority}: {head}");
        client.send(b"\0\x01opaque").await;
        client.expect(link.says()).await;
        client.expect(b"\0\x01opaque").await;
        client
    }

    /// Each path works, by its own link: `left.test` has the managed one, `right.test` the other.
    pub async fn both_work(&self) {
        for (name, link) in [("left.test", Link::Managed), ("right.test", Link::Delegated)] {
            let tunnel = self.only_by(link, async || self.hello(name, link).await).await;
            self.end(tunnel, link).await;
        }
    }

    /// Ends it well, and gives its record, which must name this link.
    pub async fn end(&self, mut client: Client, link: Link) -> Value {
        self.held.release(link);
        let from = client.local().to_string();
        client.finish().await;
        client.expect_end().await;
        let record = self.record_of(&from).await;
        assert_path(&record, link);
        record
    }
}

/// A record names this link.
pub fn assert_path(record: &Value, link: Link) {
    let (route, network) = link.told();
    assert_eq!((&record["route"], &record["network"]), (&route.into(), &network.into()), "{record:#}");
}

/// A record is of a failure or denial for this reason, and names this link.
pub fn assert_failed(record: &Value, reason: &str, link: Link) {
    assert_eq!(record["reason"], reason, "{record:#}");
    assert_path(record, link);
}
