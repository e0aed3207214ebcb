//! Messages of which a torn copy is recognized: one number, repeated. The length depends on the number.

/// A message of about `size` bytes with this number.
pub(crate) fn message(number: u64, size: usize) -> Vec<u8> {
    number.to_ne_bytes().repeat(words(number, size))
}

fn words(number: u64, size: usize) -> usize {
    size / 8 - (number % 5) as usize * (size / 64)
}

/// The number of a whole message; `None` if it is torn.
pub(crate) fn number_of(bytes: &[u8], size: usize) -> Option<u64> {
    let number = u64::from_ne_bytes(bytes.get(..8)?.try_into().expect("eight bytes"));
    let is_whole = bytes.len() == 8 * words(number, size) && bytes[8..] == bytes[..bytes.len() - 8];
    is_whole.then_some(number)
}

#[test]
fn a_mixture_of_two_messages_is_torn() {
    let (one, two) = (message(1, 640), message(6, 640));
    assert_eq!((number_of(&one, 640), one.len()), (Some(1), two.len()));
    assert_eq!(number_of(&[&one[..8], &two[8..]].concat(), 640), None);
    assert_eq!(number_of(&one[8..], 640), None);
    assert_eq!(number_of(&[], 640), None);
}
