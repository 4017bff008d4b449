//! The binary macaroon (version 2, as lnd writes it) and its narrowing by the holder.
//!
//! A macaroon carries a chain of HMAC-SHA256: whoever holds it can append a first-party caveat and sign the
//! narrower macaroon without lnd, and nobody can take a caveat away again. The layout is libmacaroons'
//! `doc/format.txt`: a version byte, then fields `type, length, data` with varint type and length.

use hmac::{Hmac, Mac};
use sha2::Sha256;

const VERSION: u8 = 2;
const END_OF_SECTION: u64 = 0;
const LOCATION: u64 = 1;
const IDENTIFIER: u64 = 2;
const VERIFICATION_ID: u64 = 4;
const SIGNATURE: u64 = 6;
/// Turns a root key of any length into the first key of the chain; the text is fixed by libmacaroons.
const KEY_GENERATOR: &[u8] = b"macaroons-key-generator";

/// A restriction. Without a `verification_id` it is a first-party caveat, which lnd itself checks.
#[derive(Clone, PartialEq, Eq)]
struct Caveat {
    location: Vec<u8>,
    id: Vec<u8>,
    verification_id: Vec<u8>,
}

/// A bearer token for lnd. It is a secret: `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Macaroon {
    location: Vec<u8>,
    identifier: Vec<u8>,
    caveats: Vec<Caveat>,
    signature: [u8; 32],
}

/// The bytes are no macaroon of version 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a macaroon of version 2: {0}")]
pub struct MalformedMacaroon(&'static str);

impl std::fmt::Debug for Macaroon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Macaroon({} caveats)", self.caveats.len())
    }
}

impl Macaroon {
    /// Mints a macaroon from a root key, as only the issuer can.
    pub fn mint(root_key: &[u8], identifier: &[u8], location: &str) -> Self {
        let key = keyed_hash(KEY_GENERATOR, root_key);
        Self {
            location: location.as_bytes().to_vec(),
            identifier: identifier.to_vec(),
            caveats: Vec::new(),
            signature: keyed_hash(&key, identifier),
        }
    }

    /// Reads the bytes of an `admin.macaroon` file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedMacaroon> {
        let (&version, rest) = bytes.split_first().ok_or(MalformedMacaroon("empty"))?;
        if version != VERSION {
            return Err(MalformedMacaroon("unknown version"));
        }
        let mut fields = Fields(rest);
        let header = fields.section()?;
        let (location, identifier) = match header.as_slice() {
            [(IDENTIFIER, id)] => (&[][..], *id),
            [(LOCATION, location), (IDENTIFIER, id)] => (*location, *id),
            _ => return Err(MalformedMacaroon("invalid header")),
        };
        let mut caveats = Vec::new();
        loop {
            let section = fields.section()?;
            let (location, id, verification_id) = match section.as_slice() {
                [] => break,
                [(IDENTIFIER, id)] => (&[][..], *id, &[][..]),
                [(IDENTIFIER, id), (VERIFICATION_ID, vid)] => (&[][..], *id, *vid),
                [(LOCATION, at), (IDENTIFIER, id), (VERIFICATION_ID, vid)] => (*at, *id, *vid),
                _ => return Err(MalformedMacaroon("invalid caveat")),
            };
            caveats.push(Caveat {
                location: location.to_vec(),
                id: id.to_vec(),
                verification_id: verification_id.to_vec(),
            });
        }
        let (kind, signature) = fields.field()?;
        if kind != SIGNATURE || !fields.0.is_empty() {
            return Err(MalformedMacaroon("no signature at the end"));
        }
        let signature = signature.try_into().map_err(|_| MalformedMacaroon("signature of another length"))?;
        Ok(Self { location: location.to_vec(), identifier: identifier.to_vec(), caveats, signature })
    }

    /// The binary form, as in an `admin.macaroon` file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        put_unless_empty(&mut bytes, LOCATION, &self.location);
        put(&mut bytes, IDENTIFIER, &self.identifier);
        put_varint(&mut bytes, END_OF_SECTION);
        for caveat in &self.caveats {
            put_unless_empty(&mut bytes, LOCATION, &caveat.location);
            put(&mut bytes, IDENTIFIER, &caveat.id);
            put_unless_empty(&mut bytes, VERIFICATION_ID, &caveat.verification_id);
            put_varint(&mut bytes, END_OF_SECTION);
        }
        put_varint(&mut bytes, END_OF_SECTION);
        put(&mut bytes, SIGNATURE, &self.signature);
        bytes
    }

    /// The hexadecimal form that the gRPC header `macaroon` carries.
    pub fn to_header(&self) -> String {
        hex::encode(self.to_bytes())
    }

    /// A narrower macaroon: it also demands `condition`, a first-party caveat such as
    /// `time-before 2026-01-31T12:00:00Z`.
    pub fn with_caveat(&self, condition: &str) -> Self {
        let mut narrower = self.clone();
        narrower.signature = keyed_hash(&self.signature, condition.as_bytes());
        narrower.caveats.push(Caveat {
            location: Vec::new(),
            id: condition.as_bytes().to_vec(),
            verification_id: Vec::new(),
        });
        narrower
    }

    /// What names the root key and the permissions.
    pub fn identifier(&self) -> &[u8] {
        &self.identifier
    }

    /// The conditions, oldest first.
    pub fn caveats(&self) -> Vec<String> {
        self.caveats.iter().map(|caveat| String::from_utf8_lossy(&caveat.id).into_owned()).collect()
    }

    /// Whether the chain starts at `root_key`. A third-party caveat is never satisfied: lnd has no third party.
    pub fn is_signed_by(&self, root_key: &[u8]) -> bool {
        let mut key = Self::mint(root_key, &self.identifier, "").signature;
        for caveat in &self.caveats {
            if !caveat.verification_id.is_empty() {
                return false;
            }
            key = keyed_hash(&key, &caveat.id);
        }
        key == self.signature
    }
}

fn keyed_hash(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn put(bytes: &mut Vec<u8>, kind: u64, data: &[u8]) {
    put_varint(bytes, kind);
    put_varint(bytes, data.len() as u64);
    bytes.extend_from_slice(data);
}

fn put_unless_empty(bytes: &mut Vec<u8>, kind: u64, data: &[u8]) {
    if !data.is_empty() {
        put(bytes, kind, data);
    }
}

/// The fields that are still to be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64, MalformedMacaroon> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(MalformedMacaroon("ends early"))?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(MalformedMacaroon("number too large"))
    }

    fn field(&mut self) -> Result<(u64, &'a [u8]), MalformedMacaroon> {
        let kind = self.varint()?;
        if kind == END_OF_SECTION {
            return Ok((kind, &[]));
        }
        let length = self.varint()? as usize;
        let (data, rest) = self.0.split_at_checked(length).ok_or(MalformedMacaroon("ends early"))?;
        self.0 = rest;
        Ok((kind, data))
    }

    fn section(&mut self) -> Result<Vec<(u64, &'a [u8])>, MalformedMacaroon> {
        let mut section = Vec::new();
        loop {
            match self.field()? {
                (END_OF_SECTION, _) => return Ok(section),
                field => section.push(field),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT_KEY: &[u8] = b"this is our super secret key; only we should know it";

    /// Made by gopkg.in/macaroon.v2 2.0.0: bare, with a time-before, and with an ipaddr after it.
    const KNOWN: [&str; 3] = [
        "0201036c6e64020803736f6d6520696400000620bc21dcda68e04243603280c016e44a7de6ef328f94764d873afd3f056374e9c7",
        "0201036c6e64020803736f6d6520696400022074696d652d6265666f726520323032362d30312d33315431323a30303a30305a00\
         000620fb42f82d4794600acf7698140661acc4c0cf9a415c82c61860cb145075bc18ec",
        "0201036c6e64020803736f6d6520696400022074696d652d6265666f726520323032362d30312d33315431323a30303a30305a00\
         0210697061646472203132372e302e302e3100000620dc9da615219f837211567b54dab2a5e68f611f0b5a928662198edfe5b58222c5",
    ];

    fn known(index: usize) -> Macaroon {
        Macaroon::from_bytes(&hex::decode(KNOWN[index]).unwrap()).unwrap()
    }

    #[test]
    fn mints_and_narrows_as_lnds_library_does() {
        let bare = Macaroon::mint(ROOT_KEY, b"\x03some id", "lnd");
        assert_eq!(bare.to_header(), KNOWN[0]);
        let timed = bare.with_caveat("time-before 2026-01-31T12:00:00Z");
        assert_eq!(timed.to_header(), KNOWN[1]);
        assert_eq!(timed.with_caveat("ipaddr 127.0.0.1").to_header(), KNOWN[2]);
    }

    #[test]
    fn a_holder_narrows_what_it_read() {
        assert_eq!(known(0).with_caveat("time-before 2026-01-31T12:00:00Z"), known(1));
        assert_eq!(known(2).caveats(), ["time-before 2026-01-31T12:00:00Z", "ipaddr 127.0.0.1"]);
        assert_eq!(known(2).to_header(), KNOWN[2]);
    }

    #[test]
    fn a_caveat_can_not_be_taken_away() {
        assert!(known(2).is_signed_by(ROOT_KEY));
        let mut forged = known(2);
        forged.caveats.pop();
        assert!(!forged.is_signed_by(ROOT_KEY));
        assert!(!known(2).is_signed_by(b"another root key"));
    }

    #[test]
    fn refuses_every_truncation_and_other_versions() {
        let bytes = known(2).to_bytes();
        for length in 0..bytes.len() {
            assert!(Macaroon::from_bytes(&bytes[..length]).is_err(), "{length} bytes were taken");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(Macaroon::from_bytes(&longer).is_err());
        assert!(Macaroon::from_bytes(&[&[1], &bytes[1..]].concat()).is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", known(1)), "Macaroon(1 caveats)");
    }
}
