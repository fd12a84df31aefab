//! What can go wrong: a fault is an effect at a point of the dialogue, or a manner that colours all
//! of it. Faults are data with a text form, so that a command line can name what a test can build.

use std::time::Duration;

use crate::words::Protocol;

/// One thing that goes wrong.
///
/// Its text is `[COUNT*][pop3:|smtp:]NAME[@OFFSET][=VALUE]`, for example `login-delay=5s`,
/// `1*smtp:end-of-data-refuse=451 4.3.0 Nein` or `in-retr-drop@50`; [`Fault::ALL`] lists the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub what: What,
    /// Where; `None` is both protocols.
    pub protocol: Option<Protocol>,
    /// How many times; `None` is every time. A manner lasts until it is taken away.
    pub times: Option<u32>,
}

/// What happens: once at a point, or all along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// At one point of the dialogue.
    At(Point, Effect),
    /// All along.
    Always(Manner),
}

/// A point of the dialogue. An effect comes before the answer that belongs there, or replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before the TLS handshake.
    Handshake,
    /// The greeting.
    Greeting,
    /// The answer to EHLO or CAPA.
    Hello,
    /// The answer to STARTTLS or STLS; an unasked line travels in the same packet.
    StartTls,
    /// The answer to USER, and each challenge of AUTH.
    Prompt,
    /// The answer to complete credentials, right or wrong.
    Login,
    /// Between two commands after the login: after the answer to the login, and at once on every
    /// session that waits for its next command when the faults change.
    Idle,
    /// The answer to MAIL.
    Mail,
    /// The answer to RCPT.
    Rcpt,
    /// The answer to DATA.
    Data,
    /// Within the message, after so many bytes of it.
    InData(u64),
    /// The answer to the final dot.
    EndOfData,
    /// After the answer to the final dot.
    AfterData,
    /// The answer to RETR.
    Retr,
    /// Within a message that is fetched, after so many percent of it. At 0 stands between `+OK`
    /// and the first byte, where a real client module decrypts.
    InRetr(u8),
    /// Within the line that ends a fetched message, after its dot.
    RetrEnd,
    /// After the end of a fetched message.
    AfterRetr,
    /// The answer to DELE.
    Dele,
    /// The answer to QUIT; deletions are committed before it.
    Quit,
}

/// What happens at a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It takes so long; a peer that leaves in the meantime is noticed.
    Delay(Duration),
    /// This line is the answer, and what was asked is not done. After `421` and at the greeting the
    /// connection ends.
    Refuse(Option<String>),
    /// The connection ends in order: close_notify, then FIN.
    Close,
    /// FIN without close_notify.
    Drop,
    /// RST.
    Reset,
    /// Nothing is sent any more, but everything is read until the peer leaves.
    HalfClose,
    /// Nothing is sent any more, and the connection stays open.
    Stall,
    /// The answer is one line of so many bytes.
    LongLine(usize),
    /// The answer is a multi-line reply without an end.
    Endless,
    /// The answer holds NUL, a control sequence and bytes above 127.
    Garbage,
    /// The answer has several lines where one is due.
    MultiLine,
    /// The answer comes twice.
    Double,
    /// The answer is followed by an unasked line.
    Unasked,
    /// The same in a packet of its own, so long after the answer, and with this line if there is one.
    Extra(Duration, Option<String>),
    /// The answer is followed by the line that announces the end.
    Goodbye,
}

/// How everything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Every byte is sent by itself.
    OneByte,
    /// The same, and so long after the one before it.
    Dribble(Duration),
    /// CR and LF are sent apart.
    SplitCrlf,
    /// Every line of a reply is sent by itself.
    LineByLine,
    /// Replies wait for the next one while more commands are at hand, and `+OK` for its message.
    Packed,
    /// Reply lines end with LF alone.
    BareLf,
    /// A line end of LF alone counts around the final dot, as in servers open to smuggling.
    LenientDot,
    /// RETR delivers the error mail of a client module that cannot decrypt.
    Undecryptable,
    /// LIST, STAT and the prompt of AUTH PLAIN are wrong in openKIM's way.
    OpenKim,
    /// RSET loses the login, as openKIM and mailin do.
    ForgetfulRset,
    /// The response that comes with AUTH is ignored, and asked for.
    IgnoreInitial,
    /// EHLO, and the headers that TOP and RETR give, are those of gematik's draft of April 2026.
    Kim2026,
    /// A message is refused that lacks what that draft demands of practice software.
    StrictHeaders,
}

impl Fault {
    /// An effect at a point, every time and in both protocols.
    pub fn at(point: Point, effect: Effect) -> Self {
        Self { what: What::At(point, effect), protocol: None, times: None }
    }

    /// A manner, in both protocols.
    pub fn always(manner: Manner) -> Self {
        Self { what: What::Always(manner), protocol: None, times: None }
    }

    /// The same in one protocol only.
    pub fn only(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// The same so many times only.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

/// A list of faults; all of them happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// No fault.
    pub fn none() -> Self {
        Self::default()
    }

    /// The faults in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl From<Vec<Fault>> for Faults {
    fn from(faults: Vec<Fault>) -> Self {
        Self(faults)
    }
}

impl<const N: usize> From<[Fault; N]> for Faults {
    fn from(faults: [Fault; N]) -> Self {
        Self(faults.into())
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        Self(faults.into_iter().collect())
    }
}

/// Why a text names no fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No name starts like this.
    #[error("\"{0}\" is not a fault; write [COUNT*][pop3:|smtp:]NAME[@OFFSET][=VALUE]")]
    Unknown(String),
    /// What stands before `*` is not a count.
    #[error("\"{0}\" is not a count; write for example 1*login-refuse")]
    Count(String),
    /// What stands after `@` is missing, is not an offset, or stands at a point without one.
    #[error("\"{0}\" takes @BYTES with in-data, @PERCENT with in-retr, and none elsewhere")]
    Offset(String),
    /// What stands after `=` is not a value for this effect.
    #[error("\"{0}\" takes no such value; delays are written 5s or 200ms, lengths in bytes")]
    Value(String),
}
