use std::os::unix::fs::symlink;

use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

use super::super::testing::Folder;
use super::super::testing::certificates::{Authority, ServerFiles, keys, replace, set_mode};
use super::*;

/// A server's files in a folder of their own.
struct House {
    folder: Folder,
    server: ServerFiles,
}

impl House {
    fn new() -> House {
        let folder = Folder::new();
        let server = ServerFiles::new(folder.path());
        House { folder, server }
    }

    fn load(&self) -> Result<Pair, Vec<Fault>> {
        Files::from(&self.server).load()
    }

    /// The only fault, after the setting and the path.
    #[track_caller]
    fn fault(&self, setting: &str) -> String {
        let faults = self.load().expect_err("the files are right");
        assert_eq!(faults.len(), 1, "{faults:?}");
        let line = faults[0].to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        let path = match setting {
            CERTIFICATE_SETTING => &self.server.certificate,
            _ => &self.server.key,
        };
        let begin = format!("{setting} is \"{}\": ", path.display());
        let advice = line.strip_prefix(&begin);
        advice
            .unwrap_or_else(|| panic!("{begin} {line}"))
            .to_owned()
    }

    #[track_caller]
    fn assert_certificate_fault(&self, text: impl AsRef<[u8]>, expected: &str) {
        fs::write(&self.server.certificate, text).unwrap();
        let fault = self.fault(CERTIFICATE_SETTING);
        assert!(fault.starts_with(expected), "{expected}: {fault}");
        assert!(fault.contains("write the path of a PEM file"), "{fault}");
    }

    #[track_caller]
    fn assert_key_fault(&self, text: impl AsRef<[u8]>, expected: &str) {
        fs::write(&self.server.key, text).unwrap();
        let fault = self.fault(KEY_SETTING);
        assert!(fault.starts_with(expected), "{expected}: {fault}");
        assert!(fault.contains("; "), "{fault}");
    }

    /// A certificate for the key in this text, and the key's file with another text of it.
    fn serve(&self, pkcs8: &str, as_written: &str) {
        let key = KeyPair::from_pem(pkcs8).unwrap();
        self.server.write_certificate(None, &key);
        self.server.write_key(as_written);
    }
}

#[test]
fn keys_of_all_supported_kinds_and_formats_are_taken() {
    let house = House::new();
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let (p384, ed25519) = (p384.serialize_pem(), ed25519.serialize_pem());
    let cases = [
        (keys::RSA_2048, keys::RSA_2048),
        (keys::RSA_2048, keys::RSA_2048_PKCS1),
        (keys::RSA_3072, keys::RSA_3072),
        (keys::RSA_4096, keys::RSA_4096),
        (keys::P256, keys::P256),
        (keys::P256, keys::P256_SEC1),
        (keys::P384, keys::P384),
        (keys::P384, keys::P384_SEC1),
        (keys::ED25519, keys::ED25519),
        (&p384, &p384),
        (&ed25519, &ed25519),
    ];
    for (pkcs8, as_written) in cases {
        house.serve(pkcs8, as_written);
        let pair = house
            .load()
            .unwrap_or_else(|faults| panic!("{as_written}: {faults:?}"));
        assert_eq!(pair.certified.cert.len(), 2);
        assert_eq!(pair.exposed, None);
    }
}

#[test]
fn keys_of_other_kinds_are_named() {
    let house = House::new();
    let kinds = "supported are RSA with 2048 to 4096 bits, P-256, P-384 and Ed25519";
    let cases = [
        (keys::RSA_1024, "its RSA key has fewer than 2048 bits"),
        (keys::RSA_5120, "its RSA key has more than 4096 bits"),
        (
            keys::P521,
            "its key is broken, or of a kind that is not supported",
        ),
    ];
    for (key, expected) in cases {
        house.assert_key_fault(key, &format!("{expected}; {kinds}: make such a key"));
    }
    for key in [keys::ENCRYPTED, keys::ENCRYPTED_PKCS1] {
        house.assert_key_fault(key, "its key is encrypted, and nobody is there to type");
    }
}

#[test]
fn files_that_are_no_keys_are_named() {
    let house = House::new();
    let key = fs::read_to_string(&house.server.key).unwrap();
    let public = KeyPair::from_pem(&key).unwrap().public_key_pem();
    house.assert_key_fault("", "it is empty; write the path");
    house.assert_key_fault("\u{feff}", "it has no key between");
    house.assert_key_fault(public, "it has no key between");
    house.assert_key_fault(house.server.root.pem(), "it has no key between");
    house.assert_key_fault([0x30, 0x80], "it has no key between");
    house.assert_key_fault(
        &key[..key.len() - 10],
        "its key is broken (it has no -----END line)",
    );
    let garbled = key.replace("BEGIN PRIVATE KEY-----\n", "BEGIN PRIVATE KEY-----\n####\n");
    house.assert_key_fault(garbled, "its key is broken (");
    let not_a_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    house.assert_key_fault(not_a_key, "its key is broken, or of a kind");
    house.assert_key_fault(vec![b'x'; 1024 * 1024 + 1], "it is larger than 1 MiB");
    fs::remove_file(&house.server.key).unwrap();
    assert!(
        house
            .fault(KEY_SETTING)
            .starts_with("it cannot be read (No such file")
    );
    fs::create_dir(&house.server.key).unwrap();
    assert!(
        house
            .fault(KEY_SETTING)
            .starts_with("it is a folder; write")
    );
}

#[test]
fn a_pipe_is_refused_at_once() {
    let mut house = House::new();
    let pipe = house.folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    house.server.key = pipe;
    assert!(
        house
            .fault(KEY_SETTING)
            .starts_with("it is not a file; write")
    );
}

#[test]
fn files_that_are_no_chain_are_named() {
    let house = House::new();
    let chain = fs::read_to_string(&house.server.certificate).unwrap();
    let no_end = &chain[..chain.len() - 10];
    let not_one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    house.assert_certificate_fault("", "it is empty");
    house.assert_certificate_fault("text", "it has no certificate between");
    house.assert_certificate_fault(keys::P256, "it has no certificate between");
    house.assert_certificate_fault(
        no_end,
        "its certificate 2 is broken (it has no -----END line)",
    );
    house.assert_certificate_fault(
        chain.clone() + not_one,
        "its certificate 3 is not a certificate of X.509",
    );
    house.assert_certificate_fault(
        format!("-----BEGIN {}", "x".repeat(9000)),
        &format!(
            "its certificate 1 is broken (it begins with \"-----BEGIN {}…\")",
            "x".repeat(89)
        ),
    );
    house.assert_certificate_fault(
        house.server.root.pem().repeat(11),
        "it has more than 10 certificates",
    );
    house.server.write_key(keys::P256);
    house.assert_certificate_fault(
        keys::VERSION_1,
        "its certificate 1 is not of X.509 version 3",
    );
    // An extension that must be understood, and is not.
    let key = KeyPair::from_pem(keys::P256).unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    extension.set_criticality(true);
    params.custom_extensions.push(extension);
    house.assert_certificate_fault(
        params.self_signed(&key).unwrap().pem(),
        "its certificate 1 cannot be used (",
    );
    fs::remove_file(&house.server.certificate).unwrap();
    assert!(
        house
            .fault(CERTIFICATE_SETTING)
            .starts_with("it cannot be read (No such file")
    );
}

#[test]
fn the_order_of_a_chain_is_checked() {
    let house = House::new();
    let server = &house.server;
    let chain = fs::read_to_string(&server.certificate).unwrap();
    let issuer = server.intermediate.pem();
    let leaf = chain.strip_suffix(issuer).unwrap();
    let root = server.root.pem();
    let stranger = Authority::new("stranger");
    let cases = [
        (format!("{issuer}{leaf}"), 2, 1),
        (format!("{leaf}{root}"), 2, 1),
        (format!("{leaf}{leaf}{issuer}"), 2, 1),
        (format!("{leaf}{issuer}{}", stranger.pem()), 3, 2),
        (format!("{leaf}{issuer}{root}{issuer}"), 4, 3),
    ];
    for (text, second, first) in cases {
        let expected =
            format!("its certificate {second} is not the one that issued certificate {first}");
        house.assert_certificate_fault(text, &expected);
    }
    // What does no harm: a root at the end, text around, a byte order mark, other line ends.
    for text in [
        leaf.to_owned(),
        chain.clone(),
        format!("{chain}{root}"),
        format!("\u{feff}# text\r\n{}", chain.replace('\n', "\r\n")),
        format!("{}{chain}", fs::read_to_string(&server.key).unwrap()),
    ] {
        fs::write(&server.certificate, &text).unwrap();
        house
            .load()
            .unwrap_or_else(|faults| panic!("{faults:?}: {text}"));
    }
}

#[test]
fn one_file_may_hold_both() {
    let mut house = House::new();
    let key = fs::read_to_string(&house.server.key).unwrap();
    let chain = fs::read_to_string(&house.server.certificate).unwrap();
    let both = house.folder.path().join("both.pem");
    house.server.key.clone_from(&both);
    house.server.certificate.clone_from(&both);
    for text in [format!("{key}{chain}"), format!("{chain}{key}")] {
        replace(&both, &text);
        house.load().unwrap();
    }
}

#[test]
fn the_key_must_be_the_first_certificates() {
    let house = House::new();
    let other = KeyPair::generate().unwrap();
    let path = house.server.certificate.display();
    house.assert_key_fault(
        other.serialize_pem(),
        &format!("its key does not belong to the first certificate in \"{path}\"; write"),
    );
    house.assert_key_fault(
        keys::RSA_2048,
        "its key does not belong to the first certificate",
    );
    // The key of the one that issued it.
    let issuer_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer_pem = params.self_signed(&issuer_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, &issuer_key);
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&other, &issuer).unwrap().pem();
    replace(&house.server.certificate, &format!("{leaf}{issuer_pem}"));
    house.assert_key_fault(
        issuer_key.serialize_pem(),
        &format!("its key belongs to certificate 2 in \"{path}\", not to the first; write"),
    );
}

#[test]
fn both_files_are_reported_at_once() {
    let house = House::new();
    fs::write(&house.server.certificate, "").unwrap();
    fs::write(&house.server.key, "").unwrap();
    let faults = house.load().unwrap_err();
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with("TLS_CERTIFICATE_FILE is \""),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("TLS_KEY_FILE is \""), "{lines:?}");
}

#[test]
fn a_path_cannot_forge_a_line() {
    let mut house = House::new();
    house.server.key = house.folder.path().join("a\nb");
    let faults = house.load().unwrap_err();
    assert!(
        faults[0].to_string().contains("a\\nb\": it cannot be read"),
        "{faults:?}"
    );
}

#[test]
fn a_key_that_others_can_read_is_noted() {
    let house = House::new();
    for (mode, is_exposed) in [
        (0o600, false),
        (0o640, false),
        (0o660, false),
        (0o644, true),
        (0o602, true),
        (0o601, true),
    ] {
        set_mode(&house.server.key, mode);
        let pair = house.load().unwrap();
        assert_eq!(pair.exposed, is_exposed.then_some(mode), "{mode:o}");
    }
}

#[test]
fn changes_of_a_file_are_seen() {
    let mut house = House::new();
    let folder = house.folder.path().to_owned();
    let (live, old, new) = (folder.join("live"), folder.join("old"), folder.join("new"));
    fs::rename(&house.server.key, &old).unwrap();
    fs::copy(&old, &new).unwrap();
    symlink(&old, &live).unwrap();
    house.server.key.clone_from(&live);
    let files = Files::from(&house.server);
    let mut before = Stamps::of(&files);
    assert_eq!(Stamps::of(&files), before);
    let mut assert_changed = |what: &str| {
        let now = Stamps::of(&files);
        assert_ne!(now, before, "{what}");
        before = now;
    };
    // The link leads elsewhere, to what is the same.
    fs::remove_file(&live).unwrap();
    symlink(&new, &live).unwrap();
    assert_changed("link");
    fs::write(&new, "longer").unwrap();
    assert_changed("size");
    let time = std::time::UNIX_EPOCH;
    fs::File::options()
        .write(true)
        .open(&new)
        .unwrap()
        .set_modified(time)
        .unwrap();
    assert_changed("time");
    set_mode(&new, 0o640);
    assert_changed("mode");
    fs::remove_file(&new).unwrap();
    assert_changed("gone");
    fs::write(&new, "").unwrap();
    assert_changed("back");
    replace(&house.server.certificate, "");
    assert_changed("certificate");
}
