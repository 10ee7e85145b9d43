//! What is no authority, and what is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use time::Duration;

use super::{Files, authority, now, ordinary};
use crate::intercept::create::{CreateError, create, suffixes};

/// An authority that differs in one thing does not load, and the error says so.
#[track_caller]
fn refused(change: impl FnOnce(&mut CertificateParams), part: &str) {
    let mut params = ordinary();
    change(&mut params);
    let error = Files::of(&params).load().unwrap_err().to_string();
    assert!(error.contains(part) && error.contains("ca.pem"), "{error} is not {part:?}");
}

#[test]
fn what_may_not_sign_for_servers_is_no_authority() {
    authority(&ordinary());
    refused(|params| params.is_ca = IsCa::NoCa, "CA:TRUE");
    refused(|params| params.is_ca = IsCa::ExplicitNoCa, "CA:TRUE");
    refused(|params| params.key_usages = vec![KeyUsagePurpose::CrlSign], "keyCertSign");
    refused(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth], "serverAuth");
    refused(
        |params| {
            let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions = vec![extension];
        },
        "a critical extension that is not known",
    );
    let mut params = ordinary();
    params.key_usages = Vec::new();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    authority(&params);
}

#[test]
fn an_authority_is_valid_at_this_time_and_one_that_ends_soon_is_warned_about() {
    refused(|params| params.not_after = now() - Duration::HOUR, "ended on 20");
    refused(|params| params.not_before = now() + Duration::HOUR, "check the clock");
    assert_eq!(authority(&ordinary()).warning(), None);
    let mut params = ordinary();
    params.not_after = now() + Duration::days(29);
    let warning = authority(&params).warning().unwrap();
    assert!(warning.contains("the sandbox CA ends on 20"), "{warning}");
}

#[test]
fn a_subject_that_cannot_be_written_again_is_refused() {
    // `O=a, DC=corp, DC=com`, by its bytes: rcgen itself has no two parts of one kind.
    let mut params = ordinary();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "a");
    params.distinguished_name.push(DnType::OrganizationalUnitName, "b");
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    // The organizational units become organizations: the signature is then wrong, and nobody looks at it.
    let twice: Vec<u8> = der
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            let unit = der[..at].ends_with(&[6, 3, 0x55, 4]) && *byte == 0x0b;
            if unit { 0x0a } else { *byte }
        })
        .collect();
    assert_ne!(der, twice);
    let pem = crate::intercept::trust::pem(&twice.into());
    let error = Files::with(&pem, &key.serialize_pem()).load().unwrap_err().to_string();
    assert!(error.contains("two parts of one kind"), "{error}");
}

#[test]
fn certificate_and_key_are_one_of_each_and_belong_together() {
    let (a, b) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let pem = ordinary().self_signed(&a).unwrap().pem();
    let refused = |certificate: &str, key: &str, part: &str| {
        let error = Files::with(certificate, key).load().unwrap_err().to_string();
        assert!(error.contains(part), "{error} is not {part:?}");
        assert!(!error.contains("PRIVATE"), "{error}");
    };
    assert!(Files::with(&pem, &a.serialize_pem()).load().is_ok());
    // What is before a certificate is a comment.
    assert!(Files::with(&format!("our CA\n{pem}"), &a.serialize_pem()).load().is_ok());
    refused(&pem, &b.serialize_pem(), "is not the key of the certificate");
    refused(&format!("{pem}{pem}"), &a.serialize_pem(), "2 certificates");
    refused("", &a.serialize_pem(), "no certificate");
    refused(&a.serialize_pem(), &a.serialize_pem(), "no certificate");
    refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &a.serialize_pem(), "no X.509");
    refused("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", &a.serialize_pem(), "no good PEM");
    refused(&pem, "", "no private key");
    refused(&pem, &pem, "no private key");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    refused(&pem, encrypted, "is encrypted");
    refused(&pem, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "none of ECDSA P-256");
}

#[test]
fn keys_are_p256_p384_or_rsa() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_ECDSA_P521_SHA512,
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let pem = ordinary().self_signed(&key).unwrap().pem();
        let loaded = Files::with(&pem, &key.serialize_pem()).load();
        if *algorithm == rcgen::PKCS_ED25519 || *algorithm == rcgen::PKCS_ECDSA_P521_SHA512 {
            assert!(loaded.unwrap_err().to_string().contains("none of ECDSA P-256"));
        } else {
            let accepted = loaded.unwrap().accept(&super::host("example.com"), true, || true);
            assert!(accepted.is_ok(), "{algorithm:?}: {accepted:?}");
        }
    }
}

#[test]
fn s5_a_key_that_others_can_read_is_refused() {
    let files = Files::of(&ordinary());
    for mode in [0o640, 0o604, 0o622, 0o777] {
        fs::set_permissions(&files.settings.key, fs::Permissions::from_mode(mode)).unwrap();
        let error = files.load().unwrap_err().to_string();
        assert!(error.contains(&format!("mode {mode:04o}")) && error.contains("chmod 600"), "{error}");
    }
    fs::set_permissions(&files.settings.key, fs::Permissions::from_mode(0o400)).unwrap();
    let loaded = files.load().unwrap();
    assert_eq!(format!("{loaded:?}"), "Authority { .. }");
    let mut settings = files.settings.clone();
    settings.key = files.directory.path().to_owned();
    assert!(super::Authority::load(&settings).unwrap_err().to_string().contains("is not a file"));
    settings.key = files.directory.path().join("none");
    assert!(super::Authority::load(&settings).unwrap_err().to_string().contains("cannot read"));
}

#[test]
fn a_new_authority_loads_and_never_takes_the_place_of_another() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("made/here");
    let settings = create(&at, &[], 10).unwrap();
    assert!(super::Authority::load(&settings).unwrap().warning().is_some(), "it ends in ten days");
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&settings.key), mode(&at)), (0o600, 0o700));
    let before = fs::read(&settings.key).unwrap();
    assert!(matches!(create(&at, &[], 10), Err(CreateError::Exists(_))));
    fs::remove_file(&settings.certificate).unwrap();
    assert!(matches!(create(&at, &[], 10), Err(CreateError::Exists(path)) if path == settings.key));
    assert_eq!(fs::read(&settings.key).unwrap(), before);
    fs::remove_file(&settings.key).unwrap();
    std::os::unix::fs::symlink(directory.path().join("elsewhere"), &settings.key).unwrap();
    assert!(matches!(create(&at, &[], 10), Err(CreateError::Exists(_))), "a link that leads nowhere");
    assert!(suffixes(&["*.example.com".to_owned()]).is_err());
    assert!(suffixes(&["10.0.0.0/8".to_owned()]).is_err());
}
