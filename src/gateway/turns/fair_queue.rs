//! Who is next where sessions wait for one another: the workstations take turns. A workstation with forty
//! sessions in the queue gets as many turns as one with a single session. Sessions of one workstation go in
//! order of arrival.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

/// The sessions that wait for one mailbox or context. It knows no clock: whoever waits leaves by itself.
#[derive(Default)]
pub(super) struct FairQueue {
    /// The workstations that wait. Each goes to the end when it has had a turn.
    workstations: VecDeque<Line>,
    /// Had the last turn, or has it still. It lets another workstation go before it, even if it came
    /// first: a workstation that holds the mailbox and queues its next sessions has no place of its
    /// own that a turn could have moved to the end.
    last: Option<Arc<str>>,
    tickets: u64,
}

/// The sessions of one workstation that wait, in order of arrival. Never empty.
struct Line {
    workstation: Arc<str>,
    waiting: VecDeque<Waiter>,
}

/// A session that waits.
struct Waiter {
    ticket: Ticket,
    wake: Arc<Notify>,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl FairQueue {
    /// A new place, and what wakes the session that has it.
    pub(super) fn join(&mut self, workstation: &Arc<str>) -> (Ticket, Arc<Notify>) {
        self.tickets += 1;
        let (ticket, wake) = (Ticket(self.tickets), Arc::new(Notify::new()));
        let waiter = Waiter { ticket, wake: wake.clone() };
        match self.workstations.iter_mut().find(|line| line.workstation == *workstation) {
            Some(line) => line.waiting.push_back(waiter),
            None => {
                let (workstation, waiting) = (workstation.clone(), VecDeque::from([waiter]));
                self.workstations.push_back(Line { workstation, waiting });
            }
        }
        (ticket, wake)
    }

    /// Gives a place up.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        for line in &mut self.workstations {
            line.waiting.retain(|waiter| waiter.ticket != ticket);
        }
        self.workstations.retain(|line| !line.waiting.is_empty());
    }

    /// Whether this session is the next one.
    pub(super) fn is_next(&self, ticket: Ticket) -> bool {
        self.next().is_some_and(|waiter| waiter.ticket == ticket)
    }

    /// The workstation that is next.
    pub(super) fn next_workstation(&self) -> Option<&Arc<str>> {
        self.next_line().map(|line| &line.workstation)
    }

    /// Whether a workstation waits that is not this one.
    pub(super) fn others_wait(&self, workstation: &str) -> bool {
        self.workstations.iter().any(|line| &*line.workstation != workstation)
    }

    /// Records that this workstation got the turn.
    pub(super) fn served(&mut self, workstation: &Arc<str>) {
        self.last = Some(workstation.clone());
        let at = self.workstations.iter().position(|line| line.workstation == *workstation);
        if let Some(line) = at.and_then(|at| self.workstations.remove(at)) {
            self.workstations.push_back(line);
        }
    }

    /// Wakes the next session. One that is not waiting at this moment finds out when it does.
    pub(super) fn wake_next(&self) {
        if let Some(waiter) = self.next() {
            waiter.wake.notify_one();
        }
    }

    /// Wakes every session of this workstation.
    pub(super) fn wake_all_of(&self, workstation: &str) {
        let line = self.workstations.iter().find(|line| &*line.workstation == workstation);
        for waiter in line.iter().flat_map(|line| &line.waiting) {
            waiter.wake.notify_one();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.workstations.is_empty()
    }

    /// How many sessions wait.
    pub(super) fn len(&self) -> usize {
        self.workstations.iter().map(|line| line.waiting.len()).sum()
    }

    fn next(&self) -> Option<&Waiter> {
        self.next_line().and_then(|line| line.waiting.front())
    }

    /// The first workstation, or the second if the first had the last turn. No workstation starves: if
    /// the first one is passed over, another has the last turn then.
    fn next_line(&self) -> Option<&Line> {
        let had_the_last = |line: &&Line| Some(&line.workstation) == self.last.as_ref();
        let mut lines = self.workstations.iter();
        let first = lines.next()?;
        if had_the_last(&first) { lines.next().or(Some(first)) } else { Some(first) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves the queue to its end and says which workstations had the turns.
    fn order(queue: &mut FairQueue) -> String {
        let mut order = Vec::new();
        while let Some(next) = queue.next().map(|waiter| waiter.ticket) {
            let workstation = queue.next_workstation().unwrap().clone();
            queue.leave(next);
            queue.served(&workstation);
            order.push(workstation.to_string());
        }
        assert!(queue.is_empty());
        order.join(" ")
    }

    #[test]
    fn workstations_take_turns_whoever_queues_how_many() {
        for (last, arrivals, turns) in [
            (None, "a a a", "a a a"),
            (None, "a a b b", "a b a b"),
            (Some("a"), "a a a b", "b a a a"),
            (Some("a"), "a a b c a", "b a c a a"),
            (Some("b"), "a a b b", "a b a b"),
            (Some("c"), "a a a a b", "a b a a a"),
        ] {
            let mut queue = FairQueue::default();
            if let Some(last) = last {
                queue.served(&last.into());
            }
            for workstation in arrivals.split(' ') {
                queue.join(&workstation.into());
            }
            assert_eq!(order(&mut queue), turns, "after {last:?}: {arrivals}");
        }
    }

    #[test]
    fn one_workstation_goes_in_order_of_arrival_and_leaves_no_gap() {
        let mut queue = FairQueue::default();
        let tickets: Vec<_> = (0..4).map(|_| queue.join(&"PC1".into()).0).collect();
        queue.leave(tickets[0]);
        queue.leave(tickets[2]);
        assert!(queue.is_next(tickets[1]) && !queue.is_next(tickets[3]));
        queue.leave(tickets[1]);
        assert!(queue.is_next(tickets[3]));
        queue.leave(tickets[3]);
        queue.leave(tickets[3]);
        assert_eq!((queue.is_empty(), queue.len()), (true, 0));
    }

    /// It queues again each time that it was served, and each time before the other is.
    #[test]
    fn a_workstation_that_keeps_coming_back_starves_no_other() {
        let mut queue = FairQueue::default();
        let (patient, _) = queue.join(&"PC1".into());
        queue.join(&"PC9".into());
        let mut turns = 0;
        while !queue.is_next(patient) {
            let workstation = queue.next_workstation().unwrap().clone();
            let next = queue.next().unwrap().ticket;
            queue.join(&"PC9".into());
            queue.leave(next);
            queue.served(&workstation);
            turns += 1;
        }
        assert!(turns <= 1, "{turns}");
    }
}
