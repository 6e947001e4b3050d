//! base64url, RFC 4648 §5: without padding, and with only one way to write each byte string.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bits: Vec<bool> = Vec::with_capacity(text.len() * 6);
    for byte in text {
        let digit = ALPHABET.iter().position(|known| known == byte)?;
        bits.extend((0..6).rev().map(|at| digit >> at & 1 == 1));
    }
    let whole = bits.len() / 8 * 8;
    let (bytes, rest) = bits.split_at(whole);
    if rest.len() >= 6 || rest.contains(&true) {
        return None;
    }
    let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    Some(bytes.chunks(8).map(byte).collect())
}

pub fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len() * 4 / 3 + 2);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let number = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        for at in 0..=chunk.len() {
            text.push(ALPHABET[(number >> (18 - 6 * at) & 63) as usize]);
        }
    }
    text
}
