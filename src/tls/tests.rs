//! Sessions with this configuration, in memory.

use std::io::{Read, Write};

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, HandshakeKind, ServerConnection,
    SupportedProtocolVersion,
};

use super::testing::certificates::{ServerFiles, keys};
use super::testing::{Folder, client, client_of};
use super::*;

struct House {
    server: ServerFiles,
    certificate: Arc<Certificate>,
    config: Arc<ServerConfig>,
    _folder: Folder,
}

impl House {
    fn new() -> House {
        let folder = Folder::new();
        let server = ServerFiles::new(folder.path());
        House::open(folder, server)
    }

    fn open(folder: Folder, server: ServerFiles) -> House {
        let pair = Files::from(&server).load().unwrap();
        let certificate = Certificate::start(pair, |_| {}).unwrap();
        House {
            server,
            config: server_config(Arc::clone(&certificate)),
            certificate,
            _folder: folder,
        }
    }

    fn client(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        client(&self.server.root, &[version])
    }

    fn connect(&self, client: &Arc<ClientConfig>) -> Result<Session, Error> {
        Session::new(client, &self.config)
    }
}

/// Both ends of a session.
struct Session {
    client: ClientConnection,
    server: ServerConnection,
}

impl Session {
    /// Makes the whole handshake, tickets included.
    fn new(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<Session, Error> {
        let name = ServerName::try_from("localhost").unwrap();
        let mut session = Session {
            client: ClientConnection::new(Arc::clone(client), name)?,
            server: ServerConnection::new(Arc::clone(server))?,
        };
        while session.client.is_handshaking() || session.server.is_handshaking() {
            session.carry()?;
        }
        session.carry()?;
        Ok(session)
    }

    /// Carries what each end has to say to the other. The error is the client's, if it has one.
    fn carry(&mut self) -> Result<(), Error> {
        let mut wire = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut wire).unwrap();
        }
        let mut wire = &*wire;
        while !wire.is_empty() {
            self.server.read_tls(&mut wire).unwrap();
            // The alert goes to the client.
            let _ = self.server.process_new_packets();
        }
        let mut wire = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut wire).unwrap();
        }
        let mut wire = &*wire;
        while !wire.is_empty() {
            self.client.read_tls(&mut wire).unwrap();
            self.client.process_new_packets()?;
        }
        Ok(())
    }

    /// Whether what the client says reaches the server.
    fn works(&mut self) -> bool {
        self.client.writer().write_all(b"hello").unwrap();
        self.carry().unwrap();
        let mut said = [0; 5];
        self.server.reader().read_exact(&mut said).is_ok() && said == *b"hello"
    }

    fn certificate(&self) -> Vec<u8> {
        self.client.peer_certificates().unwrap()[0].to_vec()
    }
}

#[test]
fn both_versions_are_spoken_with_every_kind_of_key() {
    for key in [
        keys::RSA_2048,
        keys::RSA_4096,
        keys::P256,
        keys::P384,
        keys::ED25519,
    ] {
        let folder = Folder::new();
        let server = ServerFiles::new(folder.path());
        server.write_certificate(None, &rcgen::KeyPair::from_pem(key).unwrap());
        server.write_key(key);
        let house = House::open(folder, server);
        for version in [&TLS12, &TLS13] {
            let mut session = house.connect(&Arc::new(house.client(version))).unwrap();
            assert_eq!(session.client.protocol_version(), Some(version.version));
            assert_eq!(session.client.peer_certificates().unwrap().len(), 2);
            assert!(session.works());
        }
    }
}

#[test]
fn http_1_1_is_the_only_protocol() {
    let house = House::new();
    for version in [&TLS12, &TLS13] {
        let connect = |protocols: &[&str]| {
            let mut client = house.client(version);
            client.alpn_protocols = protocols
                .iter()
                .map(|name| name.as_bytes().to_vec())
                .collect();
            house.connect(&Arc::new(client))
        };
        let spoken = |protocols: &[&str]| {
            let session = connect(protocols).unwrap();
            session.client.alpn_protocol().map(<[u8]>::to_vec)
        };
        assert_eq!(spoken(&["http/1.1"]).as_deref(), Some(PROTOCOL));
        assert_eq!(spoken(&["h2", "http/1.1"]).as_deref(), Some(PROTOCOL));
        assert_eq!(spoken(&[]), None);
        for others in [&["h2"][..], &["http/1.0"], &["h2", "h3"]] {
            let refused = connect(others).err();
            let alert = AlertDescription::NoApplicationProtocol;
            assert_eq!(refused, Some(Error::AlertReceived(alert)), "{others:?}");
        }
    }
}

#[test]
fn the_server_chooses_the_suite() {
    let house = House::new();
    for version in [&TLS12, &TLS13] {
        let chosen = |is_reversed: bool| {
            let mut provider = default_provider();
            if is_reversed {
                provider.cipher_suites.reverse();
            }
            let client = client_of(provider, &house.server.root, &[version]);
            let session = house.connect(&Arc::new(client)).unwrap();
            session.client.negotiated_cipher_suite().unwrap()
        };
        assert_eq!(chosen(false), chosen(true));
    }
}

#[test]
fn sessions_are_resumed_by_tickets_without_early_data() {
    let house = House::new();
    for version in [&TLS12, &TLS13] {
        let mut client = house.client(version);
        client.enable_early_data = true;
        let client = Arc::new(client);
        let first = house.connect(&client).unwrap();
        assert_eq!(first.client.handshake_kind(), Some(HandshakeKind::Full));
        let mut second = house.connect(&client).unwrap();
        assert_eq!(second.client.handshake_kind(), Some(HandshakeKind::Resumed));
        assert!(!second.client.is_early_data_accepted());
        assert!(second.works());
        // Another server has other keys for its tickets.
        let other = server_config(Arc::clone(&house.certificate));
        let third = Session::new(&client, &other).unwrap();
        assert_eq!(third.client.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn a_new_certificate_is_for_new_connections() {
    let house = House::new();
    let client = house.client(&TLS13);
    let mut open = house.connect(&Arc::new(client.clone())).unwrap();
    house.server.renew(None);
    house.certificate.reload();
    let begun = std::time::Instant::now();
    // Not resumed: a session goes on with the certificate it began with.
    let fresh = || {
        let mut client = client.clone();
        client.resumption = rustls::client::Resumption::disabled();
        house.connect(&Arc::new(client)).unwrap()
    };
    while fresh().certificate() == open.certificate() {
        assert!(begun.elapsed().as_secs() < 25, "no new certificate in time");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(open.works());
}
