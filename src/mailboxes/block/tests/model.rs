//! Random sequences of operations, compared with a vector of versions and bytes.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<u8>),
    Patch(usize, Vec<u8>),
    Put(Vec<u8>),
    /// A message that exactly fits, or one that is a byte too large.
    PutExactly {
        too_large: bool,
    },
    PutDropping(Vec<u8>),
    Take,
    /// Removes any message.
    Remove(Index),
    /// Removes any message, then undoes the removal.
    RemoveAndRequeue(Index),
    RaiseVersion(u64),
    Read(u64, u64),
    /// Reads the next message after a cursor that an earlier step returned.
    After(Index, u64, u64),
    /// Reads the next message after a new cursor.
    AfterVersion(u64),
    Reopen,
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let sizes = prop_oneof![3 => 0..=9usize, 2 => 0..=CAPACITY, 1 => Just(CAPACITY)];
    sizes.prop_flat_map(|size| prop::collection::vec(any::<u8>(), size))
}

fn step() -> impl Strategy<Value = Step> {
    let patch = (0..=CAPACITY, bytes()).prop_map(|(offset, mut bytes)| {
        bytes.truncate(CAPACITY - offset);
        Step::Patch(offset, bytes)
    });
    let range = || (0..2 * CAPACITY as u64, prop_oneof![0..2 * CAPACITY as u64, Just(u64::MAX)]);
    let version = prop_oneof![8 => 0..60u64, 1 => Just(u64::MAX)];
    prop_oneof![
        2 => bytes().prop_map(Step::Write),
        2 => patch,
        12 => bytes().prop_map(Step::Put),
        2 => any::<bool>().prop_map(|too_large| Step::PutExactly { too_large }),
        4 => bytes().prop_map(Step::PutDropping),
        6 => Just(Step::Take),
        6 => any::<Index>().prop_map(Step::Remove),
        3 => any::<Index>().prop_map(Step::RemoveAndRequeue),
        1 => (0..60u64).prop_map(Step::RaiseVersion),
        2 => range().prop_map(|(offset, len)| Step::Read(offset, len)),
        8 => (any::<Index>(), range()).prop_map(|(cursor, (offset, len))| Step::After(cursor, offset, len)),
        3 => version.prop_map(Step::AfterVersion),
        1 => Just(Step::Reopen),
    ]
}

/// A message, or the bytes of one that was removed while an older one was left.
#[derive(Clone)]
struct Stored {
    version: u64,
    bytes: Vec<u8>,
    is_hole: bool,
}

#[derive(Default)]
struct Model {
    version: u64,
    stored: Vec<Stored>,
}

impl Model {
    fn list(&self) -> List {
        let messages = self.stored.iter().filter(|stored| !stored.is_hole);
        messages.map(|stored| (stored.version, stored.bytes.clone())).collect()
    }

    fn live_bytes(&self) -> usize {
        self.stored.iter().map(|stored| ENTRY_HEADER + stored.bytes.len()).sum()
    }

    fn contents(&self) -> Contents {
        let room = CAPACITY.checked_sub(self.live_bytes()).map(|room| room as u64);
        let list = self.list();
        let entries = self.stored.len() as u64;
        let newest = list.last().map_or(0, |(version, _)| *version);
        Contents { newest, entries, ..Contents::of_list(self.version, list.len() as u64, room) }
    }

    fn fits(&self, len: usize) -> bool {
        self.contents().room.is_some_and(|room| len as u64 <= room)
    }

    fn push(&mut self, bytes: Vec<u8>) -> Contents {
        self.version += 1;
        self.stored.push(Stored { version: self.version, bytes, is_hole: false });
        self.contents()
    }

    /// Removes a message. Returns its bytes.
    fn remove(&mut self, version: u64) -> Vec<u8> {
        let at = self.stored.iter().position(|stored| stored.version == version).expect("stored");
        self.stored[at].is_hole = true;
        let bytes = self.stored[at].bytes.clone();
        while self.stored.first().is_some_and(|oldest| oldest.is_hole) {
            self.stored.remove(0);
        }
        bytes
    }

    /// The version of any message.
    fn any(&self, index: Index) -> Option<u64> {
        let list = self.list();
        (!list.is_empty()).then(|| index.get(&list).0)
    }
}

fn part(bytes: &[u8], offset: u64, len: u64) -> &[u8] {
    let start = bytes.len().min(offset as usize);
    let end = bytes.len().min(start.saturating_add(len as usize));
    &bytes[start..end]
}

fn run(
    step: Step,
    block: &mut Block,
    model: &mut Model,
    cursors: &mut Vec<Cursor>,
) -> Result<(), TestCaseError> {
    match step {
        Step::Write(bytes) => {
            model.stored.clear();
            prop_assert_eq!(block.write(&bytes), Ok(model.push(bytes).version));
        }
        Step::Patch(offset, bytes) => {
            let patched = block.patch(offset, &bytes).expect("not damaged");
            let mut list = model.list();
            if list.len() > 1 {
                prop_assert_eq!(patched, Patched::Multi);
            } else {
                model.stored.clear();
                let mut message = list.pop().map(|(_, message)| message).unwrap_or_default();
                message.resize(message.len().max(offset + bytes.len()), 0);
                message[offset..offset + bytes.len()].copy_from_slice(&bytes);
                prop_assert_eq!(patched, Patched::Done { version: model.push(message).version });
            }
        }
        Step::Put(bytes) => {
            let put = block.put(&bytes).expect("not damaged");
            prop_assert_eq!(put, model.fits(bytes.len()).then(|| model.push(bytes)));
        }
        Step::PutExactly { too_large } => {
            let len = model.contents().room.map_or(0, |room| room as usize + usize::from(too_large));
            if len <= CAPACITY {
                let put = block.put(&vec![7; len]).expect("not damaged");
                prop_assert_eq!(put.is_some(), !too_large && model.contents().room.is_some());
                prop_assert_eq!(put, model.fits(len).then(|| model.push(vec![7; len])));
            }
        }
        Step::PutDropping(bytes) => {
            while !model.fits(bytes.len()) {
                model.remove(model.stored[0].version);
            }
            prop_assert_eq!(block.put_dropping(&bytes), Ok(model.push(bytes)));
        }
        Step::Take => {
            let located = block.locate(None).expect("not damaged");
            let oldest = model.list().first().cloned();
            prop_assert_eq!(
                located.map(|located| located.location.version),
                oldest.as_ref().map(|(version, _)| *version)
            );
            if let (Some(located), Some((version, bytes))) = (located, oldest) {
                block.remove(located.location).expect("not damaged");
                model.remove(version);
                let message = block.message(&located).expect("not damaged");
                prop_assert_eq!(message.parts.concat(), bytes);
                prop_assert_eq!((message.version, message.count), (version, model.list().len() as u64));
            }
        }
        Step::Remove(index) => {
            if let Some(version) = model.any(index) {
                let location = location(block, version);
                block.remove(location).expect("not damaged");
                model.remove(version);
                prop_assert_eq!(block.remove(location).err(), Some(Damaged), "it is gone");
            }
        }
        Step::RemoveAndRequeue(index) => {
            if let Some(version) = model.any(index) {
                let location = location(block, version);
                let taken = block.remove(location).expect("not damaged");
                let before = model.stored.clone();
                model.remove(version);
                prop_assert_eq!(block.contents(), Ok(model.contents()));
                prop_assert_eq!(list(block), Ok(model.list()));
                model.stored = before;
                prop_assert_eq!(block.requeue(taken), Ok(()));
            }
        }
        Step::RaiseVersion(version) => {
            let is_possible = model.list().is_empty() && model.version < version;
            prop_assert_eq!(block.raise_version(version), Ok(is_possible));
            if is_possible {
                model.version = version;
            }
        }
        Step::Read(offset, len) => {
            let message = block.read(offset, len).expect("not damaged");
            let messages = model.list();
            let newest = messages.last().map_or(&[][..], |(_, bytes)| bytes);
            prop_assert_eq!(message.parts.concat(), part(newest, offset, len));
            let fields = (message.version, message.count, message.lost);
            prop_assert_eq!(fields, (model.version, messages.len() as u64, 0));
        }
        Step::After(index, offset, len) => {
            let cursor = *index.get(cursors);
            after(block, model, cursors, cursor, offset, len)?;
        }
        Step::AfterVersion(version) => after(block, model, cursors, Cursor::at(version), 0, u64::MAX)?,
        Step::Reopen => unreachable!("the caller reopens the segment"),
    }
    Ok(())
}

fn after(
    block: &Block,
    model: &Model,
    cursors: &mut Vec<Cursor>,
    cursor: Cursor,
    offset: u64,
    len: u64,
) -> Result<(), TestCaseError> {
    let found = block.after(cursor, offset, len).expect("not damaged");
    let messages = model.list();
    let expected = messages.iter().find(|(version, _)| *version > cursor.version);
    prop_assert_eq!(found.is_some(), expected.is_some());
    if let (Some((message, next)), Some((version, bytes))) = (found, expected) {
        prop_assert_eq!(message.parts.concat(), part(bytes, offset, len));
        let fields = (message.version, message.count, message.lost, next.version);
        let lost = version - cursor.version - 1;
        prop_assert_eq!(fields, (*version, messages.len() as u64, lost, *version));
        cursors.push(next);
    }
    Ok(())
}

/// All messages, each found with a new cursor, which has no position.
fn list_by_version(block: &Block) -> List {
    let walk = |version| {
        let (message, _) = block.after(Cursor::at(version), 0, u64::MAX).expect("not damaged")?;
        Some((message.version, message.parts.concat()))
    };
    std::iter::successors(walk(0), |(version, _)| walk(*version)).collect()
}

proptest! {
    #[test]
    fn behaves_like_a_vector_of_versions_and_bytes(steps in prop::collection::vec(step(), 1..120)) {
        let file = memory();
        let mut segment = Segment::create(&file, SMALL, 0).expect("created");
        for neighbour in [0, 2] {
            // SAFETY: one thread.
            unsafe { segment.block(neighbour) }.write(&[0x55; CAPACITY]).expect("written");
        }
        let (mut model, mut cursors) = (Model::default(), vec![Cursor::at(0)]);
        for step in steps {
            if let Step::Reopen = step {
                drop(segment);
                segment = Segment::open(&file, SMALL).expect("opened");
                prop_assert!(segment.recover().is_empty());
                cursors = vec![Cursor::at(0)];
            } else {
                run(step, &mut block(&segment), &mut model, &mut cursors)?;
            }
            prop_assert_eq!(block(&segment).version(), Ok(model.version));
            prop_assert_eq!(block(&segment).contents(), Ok(model.contents()));
            prop_assert_eq!(segment.control(1).contents(SMALL.capacity), Ok(model.contents()));
            prop_assert_eq!(segment.control(1).version(), Ok(model.version));
            let live_bytes = model.live_bytes() as u64;
            prop_assert_eq!(segment.control(1).live_bytes(), live_bytes);
            let approximate_bytes = segment.control(1).approximate_bytes(SMALL.capacity);
            prop_assert_eq!(approximate_bytes, live_bytes.min(SMALL.capacity));
            prop_assert_eq!(list(&block(&segment)), Ok(model.list()));
            prop_assert_eq!(list_by_version(&block(&segment)), model.list());
        }
        for neighbour in [0, 2] {
            // SAFETY: one thread.
            let block = unsafe { segment.block(neighbour) };
            prop_assert_eq!(list(&block), Ok(vec![(1, vec![0x55; CAPACITY])]));
        }
    }
}

#[test]
fn a_message_of_full_size_fits_into_an_empty_mailbox_only() {
    let segment = Segment::create(&memory(), SMALL, 0).expect("created");
    let mut block = block(&segment);
    let full = block.put(&[1; CAPACITY]).expect("not damaged").expect("fits");
    assert_eq!(full, Contents::of_list(1, 1, None));
    assert_eq!(block.put(b""), Ok(None));
    assert_eq!(block.write(&[1; CAPACITY - 4]), Ok(2));
    assert_eq!(block.contents().expect("not damaged").room, Some(0));
    assert_eq!(block.put(b"x"), Ok(None));
    assert_eq!(block.put(b""), Ok(Some(Contents::of_list(3, 2, None))));
}

#[test]
fn alternating_put_and_take_use_two_positions() {
    let segment = Segment::create(&memory(), SMALL, 0).expect("created");
    let mut block = block(&segment);
    let mut heads: Vec<u64> = (0..20)
        .map(|_| {
            put_all(&mut block, &[b"text"]);
            let head = block.record().expect("not damaged").head;
            take_many(&mut block, 1);
            head
        })
        .collect();
    heads.sort_unstable();
    heads.dedup();
    assert_eq!(heads, [0, 68]);
}

#[test]
#[should_panic(expected = "after a take")]
fn a_requeue_after_another_change_panics() {
    let segment = Segment::create(&memory(), SMALL, 0).expect("created");
    let mut block = block(&segment);
    put_all(&mut block, &[b"a", b"b"]);
    let taken = take(&mut block).expect("not damaged").expect("there is one");
    put_all(&mut block, &[b"c"]);
    block.requeue(taken).expect("not damaged");
}
