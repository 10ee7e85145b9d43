//! How clients in a sandbox are made to trust the sandbox CA.
//!
//! Hosts that are not decrypted show their real certificates, so a client needs both: the public roots and ours. Some
//! variables add a root to those that the client has; most replace them all, and must name a bundle of both.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::CertificateDer;

/// Variables that name a file whose roots are trusted besides the client's own, and who reads them.
pub const ADDING: [(&str, &str); 2] = [("NODE_EXTRA_CA_CERTS", "Node.js, npm, yarn"), ("DENO_CERT", "Deno")];

/// Variables that name the only file of roots, and who reads them.
pub const REPLACING: [(&str, &str); 11] = [
    ("SSL_CERT_FILE", "OpenSSL, Python, Ruby, Go, rustls, uv"),
    ("CURL_CA_BUNDLE", "curl"),
    ("REQUESTS_CA_BUNDLE", "Python requests"),
    ("PIP_CERT", "pip"),
    ("GIT_SSL_CAINFO", "git"),
    ("CARGO_HTTP_CAINFO", "cargo"),
    ("AWS_CA_BUNDLE", "AWS CLI and SDKs"),
    ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "gRPC core: C++, Python, Ruby"),
    ("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", "gcloud"),
    ("NIX_SSL_CERT_FILE", "Nix"),
    ("BUNDLE_SSL_CA_CERT", "Bundler"),
];

/// A certificate in PEM.
#[must_use]
pub fn pem(certificate: &CertificateDer<'_>) -> String {
    const LINE: usize = 64;
    let encoded = BASE64_STANDARD.encode(certificate);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// A bundle: ours, then the roots of this system but for another copy of ours.
#[must_use]
pub fn bundle(own: &CertificateDer<'_>, system: &[CertificateDer<'_>]) -> String {
    let others = system.iter().filter(|root| *root != own);
    std::iter::once(own).chain(others).map(pem).collect()
}

/// Lines for a POSIX shell, given where the certificate and the bundle are for the client. Without a bundle there are only
/// the variables that add.
#[must_use]
pub fn environment(certificate: &str, bundle: Option<&str>) -> String {
    let mut text = String::from("# Added to the roots that the client has.\n");
    let line = |(name, who): (&str, &str), path: &str| format!("export {name}={} # {who}\n", shell(path));
    text.extend(ADDING.map(|variable| line(variable, certificate)));
    match bundle {
        Some(bundle) => {
            text.push_str("# In place of the roots that the client has: the file holds those too.\n");
            text.extend(REPLACING.map(|variable| line(variable, bundle)));
        }
        None => {
            let _ = writeln!(
                text,
                "# Other clients have variables that replace all their roots: they need a file of both. Write one with\n\
                 #   sluicegate ca export --bundle --out bundle.pem\n\
                 # and name it with --bundle-at to get the lines for: {}.",
                REPLACING.map(|(name, _)| name).join(", ")
            );
        }
    }
    text
}

/// Commands that make systems and clients trust the certificate, given where it is.
#[must_use]
pub fn commands(certificate: &str) -> String {
    let at = shell(certificate);
    format!(
        "# Debian, Ubuntu (then also: apt, curl, wget, git, Python without certifi, Go, and the Java of ca-certificates-java)
cp {at} /usr/local/share/ca-certificates/sluicegate.crt && update-ca-certificates

# Alpine
cp {at} /usr/local/share/ca-certificates/sluicegate.crt && update-ca-certificates

# Fedora, RHEL, Rocky, Amazon Linux
cp {at} /etc/pki/ca-trust/source/anchors/sluicegate.pem && update-ca-trust extract

# SUSE
cp {at} /etc/pki/trust/anchors/sluicegate.pem && update-ca-certificates

# Arch
trust anchor --store {at}

# Java (9 and later) whose store is its own
keytool -importcert -noprompt -cacerts -storepass changeit -alias sluicegate -file {at}

# apt, where the system's store is not to be changed; bundle.pem is written with `sluicegate ca export --bundle`
echo 'Acquire::https::CAInfo \"/path/to/bundle.pem\";' > /etc/apt/apt.conf.d/90sluicegate

# Python with certifi (requests, httpx before 1.0): the variables of `sluicegate ca export --format env`, or
pip install pip-system-certs

# Chrome and Firefox of one user (package libnss3-tools)
certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n sluicegate -i {at}

# A container image
#   COPY ca.pem /usr/local/share/ca-certificates/sluicegate.crt
#   RUN update-ca-certificates
"
    )
}

/// A text as one word of a POSIX shell.
#[must_use]
pub fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn pem_is_read_back_whatever_the_length() {
        for length in [0, 1, 47, 48, 49, 96, 500] {
            let der = CertificateDer::from(vec![7; length]);
            assert_eq!(CertificateDer::from_pem_slice(pem(&der).as_bytes()).unwrap(), der, "{length}");
        }
    }

    #[test]
    fn a_bundle_has_ours_once_and_every_other_root() {
        let [own, a, b] = [1, 2, 3].map(|byte| CertificateDer::from(vec![byte; 9]));
        let text = bundle(&own, &[a.clone(), own.clone(), b.clone()]);
        let found: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(found, [own, a, b]);
    }

    #[test]
    fn variables_that_replace_all_roots_are_set_to_a_bundle_only() {
        let alone = environment("/ca.pem", None);
        let both = environment("/ca.pem", Some("/a b'c.pem"));
        for (name, _) in REPLACING {
            assert!(!alone.contains(&format!("export {name}=")), "{name}");
            assert!(both.contains(&format!("export {name}='/a b'\\''c.pem'")), "{both}");
        }
        for (name, _) in ADDING {
            assert!(alone.contains(&format!("export {name}='/ca.pem'")));
            assert!(both.contains(&format!("export {name}='/ca.pem'")));
        }
    }
}
