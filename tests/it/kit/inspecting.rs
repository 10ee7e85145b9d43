//! A gateway that decrypts: with a sandbox CA of its own, which its clients trust, and origins that it trusts.
//!
//! ```ignore
//! let origin = Origin::tls("api.test", Behaviour::Http(vec![Reply::ok("hello")])).await;
//! let gateway = Gateway::inspecting(policy, [("api.test", &origin)]).await;
//! let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
//! assert_eq!(client.ask("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await.body, "hello");
//!
//! let origin = Origin::http2("api.test", [Stream::ok("hello")]).await;
//! let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
//! assert_eq!(client.get("https://api.test/").await.body, b"hello");
//! ```

use std::io;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sluicegate::config::{Config, InterceptSettings};
use sluicegate::intercept::{create, trust};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::client::Client;
use super::gateway::Gateway;
use super::origin::Origin;
use super::tls::Secure;

/// A client inside TLS.
pub type Inside = Client<TlsStream<TcpStream>>;

impl Gateway {
    /// A gateway under one policy file that can decrypt TLS, under which these names are these origins.
    pub async fn inspecting<const N: usize>(policy: &str, origins: [(&str, &Origin); N]) -> Self {
        Self::inspecting_with(policy, origins, |_| {}).await
    }

    /// The same under a configuration that `change` has changed.
    pub async fn inspecting_with<const N: usize>(
        policy: &str,
        origins: [(&str, &Origin); N],
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let gateway = Self::with(policy, |config| {
            let policies = config.policy.clone().expect("a policy");
            let directory = policies.parent().expect("a directory");
            let authority = create::create(&directory.join("ca"), &[], 30).expect("an authority");
            let roots = directory.join("origins.pem");
            let trusted = origins.iter().filter_map(|(_, origin)| origin.try_certificate());
            // One that nobody shows, for a machine that has no roots of its own.
            let nobody = Secure::new("nobody.test").make().1;
            let trusted: Vec<_> = trusted.chain([nobody]).map(|root| trust::pem(&root)).collect();
            std::fs::write(&roots, trusted.concat()).expect("a file");
            config.intercept = Some(InterceptSettings {
                certificate: authority.certificate,
                key: authority.key,
                upstream_roots: vec![roots],
                exclude: Vec::new(),
            });
            change(config);
        });
        let gateway = gateway.await;
        for (name, origin) in origins {
            gateway.name(name, origin);
        }
        gateway
    }

    /// The certificate of its sandbox CA.
    pub fn authority(&self) -> CertificateDer<'static> {
        let certificate = self.policies().with_file_name("ca").join("ca.pem");
        CertificateDer::from_pem_file(certificate).expect("a gateway that decrypts")
    }

    /// A client inside TLS to a name, in a tunnel to the port of an origin, that trusts the sandbox CA alone.
    pub async fn inside(&self, name: &str, origin: &Origin, protocols: &[&str]) -> Inside {
        let inside = self.try_inside(name, origin, protocols).await;
        inside.unwrap_or_else(|error| panic!("no TLS to {name}: {error}"))
    }

    /// The same; a failed handshake is given back.
    pub async fn try_inside(&self, name: &str, origin: &Origin, protocols: &[&str]) -> io::Result<Inside> {
        let tunnel = Client::tunnel(self.proxy(), &format!("{name}:{}", origin.port())).await;
        tunnel.try_tls_with(name, self.authority(), protocols).await
    }
}
