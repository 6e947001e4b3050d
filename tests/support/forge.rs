//! Forged signatures: PKCS#1 v1.5 blocks with a fault in them, and cubes that a verifier accepts if
//! it does not check every byte.

use ring::digest::{Algorithm, digest};
use rsa::BoxedUint;

/// The bytes before the hash in a block: `DigestInfo` up to its value (RFC 8017 §9.2, note 1).
pub const SHA1_INFO: &[u8] = b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14";
pub const SHA256_INFO: &[u8] =
    b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
pub const SHA384_INFO: &[u8] =
    b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30";
pub const SHA512_INFO: &[u8] =
    b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40";

/// `prefix`, such as `DigestInfo` up to its value, and the hash of the message.
pub fn info(prefix: &[u8], algorithm: &'static Algorithm, message: &[u8]) -> Vec<u8> {
    [prefix, digest(algorithm, message).as_ref()].concat()
}

/// `00 01 FF .. FF 00 info`: the correct padding of `info`.
pub fn padded(info: &[u8], size: usize) -> Vec<u8> {
    with_padding(&[0, 1], 0xff, info, size)
}

/// `begin`, then `filler` as often as it fits, then `00 info`.
pub fn with_padding(begin: &[u8], filler: u8, info: &[u8], size: usize) -> Vec<u8> {
    let room = size - begin.len() - 1 - info.len();
    [begin, &vec![filler; room], &[0], info].concat()
}

/// A number of `size` bytes whose cube, of `size` bytes too, begins with `prefix` and ends with
/// `suffix`: a signature forged without the private key, if the exponent is 3. `suffix` must be odd
/// or empty, and both together shorter than a third of `size`.
pub fn cube_root(prefix: &[u8], suffix: &[u8], size: usize) -> Vec<u8> {
    let bits = (size * 8) as u32;
    // The cube root of the least number with this prefix, rounded up. Two neighbouring cubes differ
    // by far less than what follows the prefix, so the rounded root keeps it.
    let mut block = prefix.to_vec();
    block.resize(size, 0);
    let least = BoxedUint::from_be_slice_vartime(&block);
    let one = BoxedUint::one_with_precision(bits);
    let mut root = BoxedUint::zero_with_precision(bits);
    for bit in (0..bits / 3 + 1).rev() {
        let larger = root.wrapping_add(one.shl(bit));
        if cube(&larger) < least {
            root = larger;
        }
    }
    root = root.wrapping_add(&one);

    // Then replace its low bits, one by one, so that the low bits of the cube are the suffix.
    let low = suffix.len() as u32 * 8;
    let wanted = BoxedUint::from_be_slice_truncated(suffix, bits);
    let differs = |root: &BoxedUint, bit: u32| {
        let difference = cube(root).wrapping_sub(&wanted);
        difference.bit_vartime(bit)
    };
    if low > 0 {
        // One more above the low bits, because they may become smaller than they were.
        root = root.shr(low).wrapping_add(&one).shl(low);
    }
    for bit in 0..low {
        if differs(&root, bit) {
            root = root.wrapping_add(one.shl(bit));
        }
    }

    let forged = cube(&root).to_be_bytes();
    assert!(forged.starts_with(prefix), "{forged:x?}");
    assert!(forged.ends_with(suffix), "{forged:x?}");
    root.to_be_bytes().into()
}

fn cube(number: &BoxedUint) -> BoxedUint {
    number.wrapping_mul(number).wrapping_mul(number)
}

/// The sum of two numbers, with as many bytes as the first. `None` if it overflows.
pub fn sum(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    let [a_number, b_number] = [a, b].map(BoxedUint::from_be_slice_vartime);
    let sum = a_number.wrapping_add(&b_number);
    (sum >= a_number).then(|| sum.to_be_bytes().into())
}

/// The first number minus the second, which must not be larger.
pub fn difference(a: &[u8], b: &[u8]) -> Vec<u8> {
    let [a, b] = [a, b].map(BoxedUint::from_be_slice_vartime);
    assert!(a >= b);
    a.wrapping_sub(&b).to_be_bytes().into()
}
