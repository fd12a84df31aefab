//! The register and its files, without a gateway.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;

use super::*;

const DAY: i64 = 86_400;
const HOLD: Duration = Duration::from_secs(30 * 86_400);

fn at(now: i64) -> Terms {
    Terms { hold: HOLD, now }
}

fn message(register: &Register, account: &str, uid: &str) -> Undecrypted {
    Undecrypted {
        maildrop: register.maildrop("main", account),
        uid: uid.into(),
        account: account.into(),
        workstation: "PC1".into(),
        cause: "decryption-result 01".into(),
    }
}

fn hold(register: &Register, account: &str, uid: &str, now: i64) -> Hold {
    register.hold(message(register, account, uid), at(now))
}

fn is_held(register: &Register, account: &str, uid: &str, now: i64) -> bool {
    let message = register.message(&register.maildrop("main", account), uid);
    register.is_held(&message, at(now)) == Some(true)
}

fn damaged(folder: &Path) -> bool {
    folder.join("held.damaged").exists()
}

#[test]
fn a_message_is_held_by_every_register_of_its_folder_until_it_came_decrypted() {
    let folder = tempfile::tempdir().unwrap();
    let register = Register::open(folder.path(), 0);
    assert!(matches!(hold(&register, "a@b", "1", 0), Hold::New { .. }));
    assert_eq!(hold(&register, "A@B", "1", 5), Hold::Known);
    assert_eq!(hold(&register, " A @B ", "1", 5), Hold::Known);
    drop(register);
    let register = Register::open(folder.path(), 9);
    assert_eq!(register.trouble(), None);
    assert!(is_held(&register, "a@b", "1", 9));
    assert!(!is_held(&register, "a@b", "2", 9));
    assert!(!is_held(&register, "a@c", "1", 9));
    let elsewhere = register.message(&register.maildrop("second", "a@b"), "1");
    assert_eq!(register.is_held(&elsewhere, at(9)), None);
    assert!(register.came_decrypted(&register.maildrop("main", "a@b"), "1", at(9)).is_some());
    drop(register);
    let register = Register::open(folder.path(), 9);
    assert!(!register.has_held(&register.maildrop("main", "a@b")));
    assert_eq!(register.held(at(9)), (0, None));
}

/// A sender who writes the header himself must not be able to make a mail that nobody can delete.
#[test]
fn what_was_let_go_is_not_held_again_however_often_it_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    for uid in ["released", "too old"] {
        let register = Register::open(folder.path(), 0);
        let Hold::New { id } = hold(&register, "a@b", uid, 0) else { panic!("{uid}") };
        let now = if uid == "released" { 1 } else { 30 * DAY };
        if uid == "released" {
            assert_eq!(register.release(&id.to_uppercase(), at(now)).unwrap().id, id);
            assert!(matches!(register.release(&id, at(now)), Err(ReleaseError::Unknown)));
        } else {
            assert!(is_held(&register, "a@b", uid, now - 1));
        }
        assert!(!is_held(&register, "a@b", uid, now), "{uid}");
        assert_eq!(hold(&register, "a@b", uid, now), Hold::LetGo, "{uid}");
        drop(register);
        let register = Register::open(folder.path(), now);
        assert_eq!(hold(&register, "a@b", uid, now + DAY), Hold::LetGo, "{uid}");
        let swept = register.sweep(at(now));
        assert_eq!(swept.len(), usize::from(uid == "too old"), "said once: {swept:?}");
        assert!(register.sweep(at(now)).is_empty());
        // By now no server has it any more.
        register.sweep(at(GONE));
        drop(register);
        let register = Register::open(folder.path(), GONE);
        assert!(matches!(hold(&register, "a@b", uid, GONE), Hold::New { .. }), "{uid}");
        register.came_decrypted(&register.maildrop("main", "a@b"), uid, at(GONE));
    }
}

#[test]
fn a_clock_that_was_ahead_holds_no_message_for_years() {
    let folder = tempfile::tempdir().unwrap();
    hold(&Register::open(folder.path(), 9000 * DAY), "a@b", "1", 9000 * DAY);
    let register = Register::open(folder.path(), 10 * DAY);
    assert!(is_held(&register, "a@b", "1", 10 * DAY));
    assert!(!is_held(&register, "a@b", "1", 40 * DAY));
}

#[test]
fn a_journal_that_was_cut_anywhere_holds_what_its_whole_lines_say() {
    let folder = tempfile::tempdir().unwrap();
    let register = Register::open(folder.path(), 0);
    for uid in ["1", "2", "3"] {
        hold(&register, "a@b", uid, 0);
    }
    drop(register);
    let journal = folder.path().join("held.journal");
    let whole = fs::read(&journal).unwrap();
    for cut in 0..=whole.len() {
        fs::write(&journal, &whole[..cut]).unwrap();
        let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
        let register = Register::open(folder.path(), 0);
        assert_eq!((register.held(at(0)).0, register.trouble()), (lines, None), "cut at {cut}");
        hold(&register, "a@b", "new", 0);
        drop(register);
        let register = Register::open(folder.path(), 0);
        assert_eq!(register.held(at(0)).0, lines + 1, "cut at {cut}");
        assert!(is_held(&register, "a@b", "new", 0));
    }
    assert!(!damaged(folder.path()));
}

#[test]
fn a_line_that_cannot_be_read_costs_no_other_line_and_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let register = Register::open(folder.path(), 0);
    for uid in ["1", "2", "3"] {
        hold(&register, "a@b", uid, 0);
    }
    drop(register);
    let journal = folder.path().join("held.journal");
    let mut bytes = fs::read(&journal).unwrap();
    let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 20;
    bytes[second] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    let register = Register::open(folder.path(), 0);
    assert!(register.trouble().unwrap().starts_with("1 of 3 lines of held.journal"));
    assert_eq!(fs::read(folder.path().join("held.damaged")).unwrap(), bytes);
    let held = ["1", "2", "3"].map(|uid| is_held(&register, "a@b", uid, 0));
    assert_eq!(held, [true, false, true]);
    assert!(matches!(hold(&register, "a@b", "2", 0), Hold::New { .. }));
    drop(register);
    assert_eq!(Register::open(folder.path(), 0).trouble(), None, "written anew");
}

#[test]
fn a_journal_without_its_key_is_put_aside_and_said() {
    for key in [None, Some(vec![1; 5]), Some(vec![1; 32])] {
        let folder = tempfile::tempdir().unwrap();
        hold(&Register::open(folder.path(), 0), "a@b", "1", 0);
        let file = folder.path().join("held.key");
        match &key {
            Some(key) => fs::write(&file, key).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let register = Register::open(folder.path(), 0);
        let trouble = register.trouble().unwrap();
        assert!(trouble.contains("held.damaged") && trouble.contains("held.key"), "{trouble}");
        assert!(damaged(folder.path()));
        assert_eq!(register.held(at(0)).0, 0);
        assert!(matches!(hold(&register, "a@b", "1", 0), Hold::New { .. }));
        drop(register);
        let register = Register::open(folder.path(), 0);
        assert_eq!((register.held(at(0)).0, register.trouble()), (1, None));
    }
}

#[test]
fn a_folder_that_cannot_be_used_holds_until_kimgate_ends_and_is_said() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("held.lock")).unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for state in [folder.path().to_owned(), folder.path().join("file")] {
        let register = Register::open(&state, 0);
        assert!(register.trouble().unwrap().contains("held until kimgate ends"));
        assert_eq!(hold(&register, "a@b", "1", 0), Hold::InMemory);
        assert_eq!(hold(&register, "a@b", "1", 0), Hold::InMemory);
        assert!(is_held(&register, "a@b", "1", 0));
        let id = register.list(at(0), 9)[0].id.clone();
        assert!(matches!(register.release(&id, at(0)), Err(ReleaseError::NotStored(_))));
        assert!(!is_held(&register, "a@b", "1", 0));
    }
}

#[test]
fn what_the_disk_did_not_take_is_stored_as_soon_as_it_does() {
    let folder = tempfile::tempdir().unwrap();
    hold(&Register::open(folder.path(), 0), "a@b", "1", 0);
    // After half a line the journal is written anew, and that fails here.
    let journal = folder.path().join("held.journal");
    let half = [fs::read(&journal).unwrap(), b"{".to_vec()].concat();
    fs::write(&journal, half).unwrap();
    let draft = folder.path().join("held.journal-new");
    fs::create_dir(&draft).unwrap();
    let register = Register::open(folder.path(), 0);
    assert_eq!(hold(&register, "a@b", "2", 0), Hold::InMemory);
    register.sweep(at(0));
    fs::remove_dir(&draft).unwrap();
    register.sweep(at(0));
    drop(register);
    assert!(is_held(&Register::open(folder.path(), 0), "a@b", "2", 0));
}

#[test]
fn what_was_held_before_stays_held_where_the_journal_cannot_be_taken() {
    let folder = tempfile::tempdir().unwrap();
    let first = Register::open(folder.path(), 0);
    hold(&first, "a@b", "1", 0);
    let locked_out = Register::open(folder.path(), 0);
    drop(first);
    // As on a disk that has become read-only.
    fs::remove_file(folder.path().join("held.lock")).unwrap();
    fs::create_dir(folder.path().join("held.lock")).unwrap();
    let read_only = Register::open(folder.path(), 0);
    for register in [locked_out, read_only] {
        assert!(register.trouble().is_some());
        assert!(is_held(&register, "a@b", "1", 0));
        assert!(!is_held(&register, "a@b", "2", 0));
        assert_eq!(hold(&register, "a@b", "2", 0), Hold::InMemory);
    }
}

#[test]
fn two_processes_do_not_write_one_journal() {
    let folder = tempfile::tempdir().unwrap();
    let first = Register::open(folder.path(), 0);
    hold(&first, "a@b", "1", 0);
    let second = Register::open(folder.path(), 0);
    assert!(second.trouble().unwrap().contains("another kimgate"));
    assert_eq!(hold(&second, "a@b", "2", 0), Hold::InMemory);
    let looking = Register::peek(folder.path(), 0).unwrap();
    assert_eq!(looking.list(at(0), 9), first.list(at(0), 9));
}

#[test]
fn nothing_in_the_files_names_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let register = Register::open(folder.path(), 0);
    hold(&register, "a@b", "QhdPYR:00WBw1Ph7x7", 0);
    let text = fs::read_to_string(folder.path().join("held.journal")).unwrap();
    assert!(!text.contains("QhdPYR"), "{text}");
}

#[cfg(unix)]
#[test]
fn nobody_else_reads_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let files = ["held.journal", "held.key", "held.lock"].map(|name| state.join(name));
    let modes =
        || files.each_ref().map(|file| file.metadata().unwrap().permissions().mode() & 0o777);
    hold(&Register::open(&state, 0), "a@b", "1", 0);
    assert_eq!(modes(), [0o600; 3]);
    for file in &files {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }
    assert!(is_held(&Register::open(&state, 0), "a@b", "1", 0));
    assert_eq!(modes(), [0o600; 3], "a copy or a backup had opened them");
}

/// Its size does not grow with what happens, only with what is held.
#[test]
fn the_journal_is_written_anew_when_most_of_it_no_longer_counts() {
    let folder = tempfile::tempdir().unwrap();
    let register = Register::open(folder.path(), 0);
    hold(&register, "a@b", "kept", 0);
    let maildrop = register.maildrop("main", "a@b");
    for _ in 0..2000 {
        hold(&register, "a@b", "1", 0);
        register.came_decrypted(&maildrop, "1", at(0));
    }
    drop(register);
    let text = fs::read_to_string(folder.path().join("held.journal")).unwrap();
    assert!(text.lines().count() < 1100, "{}", text.lines().count());
    let register = Register::open(folder.path(), 0);
    assert!(is_held(&register, "a@b", "kept", 0) && !is_held(&register, "a@b", "1", 0));
}

#[test]
fn a_hundred_thousand_messages_are_small_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let register = Register::open(folder.path(), 0);
    let accounts = ["a@b", "c@d"];
    let ids: Vec<Digest> = (0..100_000)
        .map(|n| {
            let account = accounts[n % 2].to_owned();
            let maildrop = register.maildrop("main", &account);
            let id = register.message(&maildrop, &n.to_string());
            let (workstation, cause) = (format!("PC{}", n % 50), "error 4009".into());
            let origin = Origin { maildrop, account, workstation, cause };
            register.table().insert(id, 0, origin).unwrap();
            id
        })
        .collect();
    register.write(&ids).unwrap();
    drop(register);
    let size = fs::metadata(folder.path().join("held.journal")).unwrap().len();
    assert!(size < 30 << 20, "{size} bytes");
    let started = std::time::Instant::now();
    let register = Register::open(folder.path(), 0);
    let loaded = started.elapsed();
    assert_eq!(register.held(at(0)), (100_000, Some(0)));
    let started = std::time::Instant::now();
    for n in 0..5000 {
        assert!(is_held(&register, accounts[n % 2], &n.to_string(), 0));
        assert!(!is_held(&register, accounts[n % 2], &format!("x{n}"), 0));
    }
    // For a person who looks; no test fails because a machine is busy.
    println!(
        "100,000 held: {size} bytes, read in {loaded:?}; a look takes {:?}",
        started.elapsed() / 10_000
    );
    assert_eq!(
        hold(&register, "a@b", "one more", 0),
        Hold::Full,
        "of this account there are enough"
    );
    assert!(matches!(hold(&register, "e@f", "one more", 0), Hold::New { .. }));
}

#[derive(Clone, Debug)]
enum Happens {
    Undecrypted(u8, u8),
    Decrypted(u8, u8),
    Released(u8, u8),
    DaysPass(u8),
    Sweep,
    Restart,
}

fn anything() -> impl Strategy<Value = Happens> {
    let message = (0..3_u8, 0..4_u8);
    prop_oneof![
        4 => message.clone().prop_map(|(account, uid)| Happens::Undecrypted(account, uid)),
        2 => message.clone().prop_map(|(account, uid)| Happens::Decrypted(account, uid)),
        1 => message.prop_map(|(account, uid)| Happens::Released(account, uid)),
        2 => (0..40_u8).prop_map(Happens::DaysPass),
        1 => Just(Happens::Sweep),
        2 => Just(Happens::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The model: since when a message is held, and whether it was released. Nothing else.
    #[test]
    fn a_register_holds_what_a_model_of_it_holds(all in prop::collection::vec(anything(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let mut register = Register::open(folder.path(), 0);
        let mut model: BTreeMap<(u8, u8), (i64, bool)> = BTreeMap::new();
        let mut now = 0;
        let name = |account: u8| format!("{account}@praxis");
        for happens in all {
            match happens {
                Happens::Undecrypted(account, uid) => {
                    let was = model.get(&(account, uid)).copied();
                    let held = hold(&register, &name(account), &uid.to_string(), now);
                    match was {
                        None => {
                            let is_new = matches!(held, Hold::New { .. });
                            prop_assert!(is_new);
                        }
                        Some((since, released)) if released || now - since >= 30 * DAY => {
                            prop_assert_eq!(held, Hold::LetGo);
                        }
                        Some(_) => prop_assert_eq!(held, Hold::Known),
                    }
                    model.entry((account, uid)).or_insert((now, false));
                }
                Happens::Decrypted(account, uid) => {
                    let maildrop = register.maildrop("main", &name(account));
                    register.came_decrypted(&maildrop, &uid.to_string(), at(now));
                    model.remove(&(account, uid));
                }
                Happens::Released(account, uid) => {
                    let maildrop = register.maildrop("main", &name(account));
                    let id = register.message(&maildrop, &uid.to_string()).id();
                    let released = register.release(&id, at(now)).is_ok();
                    let of = model.get_mut(&(account, uid)).filter(|(since, gone)| {
                        !gone && now - *since < 30 * DAY
                    });
                    prop_assert_eq!(released, of.is_some());
                    if let Some((_, gone)) = of {
                        *gone = true;
                    }
                }
                Happens::DaysPass(days) => now += i64::from(days) * DAY,
                Happens::Sweep => {
                    register.sweep(at(now));
                    model.retain(|_, (since, _)| now - *since < GONE);
                }
                Happens::Restart => {
                    drop(register);
                    register = Register::open(folder.path(), now);
                    prop_assert_eq!(register.trouble(), None);
                }
            }
            let is_kept = |(since, released): &(i64, bool)| !released && now - since < 30 * DAY;
            for account in 0..3 {
                for uid in 0..4 {
                    let expected = model.get(&(account, uid)).is_some_and(is_kept);
                    let found = is_held(&register, &name(account), &uid.to_string(), now);
                    prop_assert_eq!(found, expected, "{} {} on day {}", account, uid, now / DAY);
                    let asks = register.has_held(&register.maildrop("main", &name(account)));
                    prop_assert!(asks || !found, "a message that nobody asks about");
                }
            }
            prop_assert_eq!(register.held(at(now)).0, model.values().filter(|of| is_kept(of)).count());
        }
    }
}
