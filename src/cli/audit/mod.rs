//! `kimgate audit`: what happened, out of the audit files.

mod filter;
mod view;
mod when;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use time::OffsetDateTime;

use super::{ConfigFile, Failure, Screen, table};
use crate::config::load;
use crate::observe::{AuditPart, Pseudonyms, in_chain_order, rotated_audit, verify_audit};
pub(super) use filter::kind_of;
use filter::{AuditLine, Filter};
use when::When;

/// Search the audit: who fetched, sent, deleted or was refused what, when and why
///
/// Reads the file that the configuration names and those that were rotated away from it. Exit code
/// 0: something was found. 1: nothing was.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kimgate audit --since today\n  \
    kimgate audit --account prx@praxis.kim.telematik --since '2026-11-25 10:00'\n  \
    kimgate audit --workstation PC3 --event denied --since 7d --json\n  \
    journalctl --unit kimgate --output cat | kimgate audit --file -")]
pub(super) struct Audit {
    #[command(flatten)]
    config: ConfigFile,
    /// An audit file, whatever the configuration says; -: standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Of this account; * stands for anything. Found under its pseudonym as well, where the key is
    #[arg(long, value_name = "ADDRESS")]
    account: Option<String>,
    /// Of this workstation, or this address and port; * stands for anything
    #[arg(long, value_name = "NAME")]
    workstation: Option<String>,
    /// With this reason, enforced or not, e.g. not-allowed
    #[arg(long, value_name = "WORD")]
    reason: Option<String>,
    /// Of this kind, e.g. denied or message-*
    #[arg(long, value_name = "WORD")]
    event: Option<String>,
    /// Of one connection
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Not before: a date, a time, today, yesterday, or so long ago, e.g. 2h or 7d
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Not after; a date is meant with all of its day
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// Only the newest so many; default: 200 in the table, all as JSON
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Print the lines as they are in the file
    #[arg(long)]
    json: bool,
    /// Check the chain of hashes (audit.chain) and name the first line that does not follow. Exit code
    /// 1: the chain is broken, or there is none
    #[arg(long, conflicts_with_all = [
        "account", "workstation", "reason", "event", "session", "since", "until", "last", "json",
    ])]
    verify: bool,
}

/// Rows of the table; more would not be read.
const ROWS: usize = 200;

/// Longer than any audit line.
const LONGEST: u64 = 64 << 10;
/// So often it is tried to open all files of an audit between two rotations.
const ROTATIONS: u32 = 20;

impl Audit {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        let place = self.place()?;
        if self.verify {
            return place.verify(screen);
        }
        let filter = self.filter(place.pseudonyms.as_ref());
        let mut found = Found::new(self.last.or((!self.json).then_some(ROWS)));
        for (_, source) in place.sources(filter.since, Order::OfNames)? {
            read(source, |text| match serde_json::from_str::<AuditLine>(text) {
                Ok(line) if filter.matches(&line) => {
                    if let Some(text) = found.keep(text, line) {
                        screen.say_json(text);
                    }
                }
                Ok(_) => {}
                Err(_) => found.broken += 1,
            })?;
        }
        found.show(screen, self.json);
        if found.matched > 0 {
            return Ok(());
        }
        Err(Failure::error(match self.account.is_some() && place.pseudonyms.is_none() {
            true => {
                "no audit line matches; if the audit has pseudonyms, their key was not found: \
                 --config FILE says where it is"
            }
            false => "no audit line matches",
        }))
    }

    fn place(&self) -> Result<AuditPlace, Failure> {
        let config = match (&self.file, self.config.path()) {
            (_, Ok(path)) => Some(load(&path, std::env::vars()).map_err(|_| {
                Failure::error(format!(
                    "{} has errors, which `kimgate check` names; --file FILE reads without it",
                    path.display()
                ))
            })?),
            (Some(_), Err(_)) => None,
            (None, Err(failure)) => return Err(failure),
        };
        let audit = config.map(|loaded| loaded.config.observe.audit);
        let pseudonyms = audit.as_ref().map(|audit| Pseudonyms::existing(&audit.state_dir));
        let configured = audit.and_then(|audit| audit.file);
        let file = self.file.clone().or(configured).ok_or_else(|| {
            Failure::error(
                "audit.file is not set, so the audit went to standard output; \
                 `journalctl --unit kimgate --output cat | kimgate audit --file -` reads it there",
            )
        })?;
        Ok(AuditPlace { file, pseudonyms: pseudonyms.transpose()?.flatten() })
    }

    fn filter(&self, pseudonyms: Option<&Pseudonyms>) -> Filter {
        let now = OffsetDateTime::now_utc();
        let mut filter = Filter {
            wanted: Vec::new(),
            since: self.since.map(|since| since.begin(now)),
            until: self.until.map(|until| until.end(now)),
        };
        if let Some(account) = &self.account {
            filter.account(account, pseudonyms);
        }
        filter.field(&["workstation", "peer"], self.workstation.as_deref());
        filter.field(&["event"], self.event.as_deref());
        filter.field(&["reason", "would_deny"], self.reason.as_deref());
        filter.field(&["session"], self.session.as_deref());
        filter
    }
}

/// Where the audit is.
struct AuditPlace {
    file: PathBuf,
    pseudonyms: Option<Pseudonyms>,
}

impl AuditPlace {
    /// Everything to read, the oldest first; without the parts that end before `since`.
    fn sources(&self, since: Option<OffsetDateTime>, order: Order) -> Result<Vec<Source>, Failure> {
        if self.file == Path::new("-") {
            return Ok(vec![("standard input".into(), Box::new(io::stdin()))]);
        }
        let sources = self.open(since, order);
        sources.map_err(|error| {
            Failure::error(format!("the audit file {}: {error}", self.file.display()))
        })
    }

    /// Begins again if kimgate rotates or removes a file meanwhile.
    fn open(&self, since: Option<OffsetDateTime>, order: Order) -> io::Result<Vec<Source>> {
        for _ in 0..ROTATIONS {
            let parts = rotated_audit(&self.file)?;
            let sources = self.open_these(&parts, since, order);
            if rotated_audit(&self.file)? == parts {
                return sources;
            }
        }
        Err(io::Error::other("is rotated faster than it can be read; try again"))
    }

    fn open_these(
        &self,
        parts: &[AuditPart],
        since: Option<OffsetDateTime>,
        order: Order,
    ) -> io::Result<Vec<Source>> {
        let wanted = parts.iter().filter(|part| since.is_none_or(|since| since <= part.rotated));
        let mut files: Vec<PathBuf> = wanted.map(|part| part.path.clone()).collect();
        // It may have been rotated a moment ago, and nothing has happened since.
        if files.is_empty() || self.file.try_exists()? {
            files.push(self.file.clone());
        }
        let files = match order {
            Order::OfNames => files,
            Order::OfChain => in_chain_order(files)?,
        };
        let open = |file: PathBuf| -> io::Result<Source> {
            Ok((file.display().to_string(), Box::new(File::open(&file)?)))
        };
        files.into_iter().map(open).collect()
    }
}

/// Which file comes first.
#[derive(Clone, Copy)]
enum Order {
    OfNames,
    /// Names mislead after the clock jumped.
    OfChain,
}

impl AuditPlace {
    fn verify(&self, screen: &mut Screen) -> Result<(), Failure> {
        let sources = self.sources(None, Order::OfChain)?;
        let files = match sources.len() {
            1 => "1 file".to_owned(),
            many => format!("{many} files"),
        };
        let chain = verify_audit(sources)?
            .map_err(|broken| Failure::error(format!("the audit's chain is broken: {broken}")))?;
        if chain.lines == 0 {
            return Err(Failure::error("no line carries a hash; audit.chain = true adds them"));
        }
        screen.say(&format!("the chain holds: {} lines in {files}", chain.lines));
        if !chain.is_whole {
            screen.say("it continues older files, which are no longer there");
        }
        if chain.unchained > 0 {
            screen.say(&format!("{} lines before it carry no hash", chain.unchained));
        }
        if chain.torn > 0 {
            screen.say(&format!("{} lines broke off, by a full disk or a crash", chain.torn));
        }
        screen.say(&format!("the next line will carry {}", chain.last));
        Ok(())
    }
}

/// A file's name and what is in it.
type Source = (String, Box<dyn Read>);

/// Gives each line; one that is longer than any of kimgate's comes in pieces, which are no JSON.
fn read(source: Box<dyn Read>, mut take: impl FnMut(&str)) -> Result<(), Failure> {
    let mut reader = BufReader::new(source);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut reader).take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        if !text.is_empty() {
            take(text);
        }
    }
}

/// What has matched so far, the newest of it if there is a bound.
struct Found {
    bound: Option<usize>,
    kept: VecDeque<(String, AuditLine)>,
    matched: u64,
    broken: u64,
}

impl Found {
    fn new(bound: Option<usize>) -> Self {
        Self { bound, kept: VecDeque::new(), matched: 0, broken: 0 }
    }

    /// Keeps a line, or gives it back where everything is wanted.
    fn keep<'a>(&mut self, text: &'a str, line: AuditLine) -> Option<&'a str> {
        self.matched += 1;
        let Some(bound) = self.bound else { return Some(text) };
        self.kept.push_back((text.to_owned(), line));
        if self.kept.len() > bound {
            self.kept.pop_front();
        }
        None
    }

    fn show(&self, screen: &mut Screen, json: bool) {
        if json {
            self.kept.iter().for_each(|(text, _)| screen.say_json(text));
        } else if !self.kept.is_empty() {
            let rows: Vec<_> = std::iter::once(view::heads())
                .chain(self.kept.iter().map(|(_, line)| view::row(line)))
                .collect();
            for line in table::fitting(&rows, screen.width()) {
                screen.say(&line);
            }
        }
        let shown = self.kept.len();
        if !json && shown > 0 && (shown as u64) < self.matched {
            screen.complain(&format!(
                "the newest {shown} of {}; --last N shows more, --json all",
                self.matched
            ));
        }
        if self.broken > 0 {
            screen.complain(&format!(
                "{} lines are no audit lines: torn by a full disk, or something else's",
                self.broken
            ));
        }
    }
}
