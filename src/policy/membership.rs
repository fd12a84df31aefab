//! Who belongs to which group.
//!
//! Every subject that a rule can name has a number. What a subject is part of, through any depth of
//! groups and departments, is worked out once. A decision then compares sorted numbers.

use std::collections::HashMap;
use std::sync::Arc;

use super::Subject;

/// The number of a subject.
pub(super) type Id = u32;

/// The number of `*`, which every session has besides its own numbers.
pub(super) const EVERYBODY: Id = 0;

/// A list of subjects, as sorted numbers.
#[derive(Debug, Default)]
pub(super) struct SubjectList(Box<[Id]>);

impl SubjectList {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of `who`, which is sorted, is on the list.
    pub(super) fn names_one_of(&self, who: &[Id]) -> bool {
        let list = &*self.0;
        let (short, long) = if list.len() < who.len() { (list, who) } else { (who, list) };
        short.iter().any(|id| long.binary_search(id).is_ok())
    }
}

/// All subjects and what they are part of.
#[derive(Debug, Default)]
pub(super) struct Membership {
    ids: HashMap<Subject, Id>,
    subjects: Vec<Subject>,
    /// By number: all groups and departments around the subject, sorted. Subjects with the same
    /// direct groups share one list.
    around: Vec<Arc<[Id]>>,
    mandants: HashMap<String, Id>,
    /// All mandants and what they are part of, sorted.
    any_mandant: Vec<Id>,
}

impl Membership {
    /// Numbers these subjects, of which the containers have members. The members that it does not
    /// know come back, each with its container, and so do the cycles, each in the order of members.
    pub(super) fn new<'a>(
        subjects: impl IntoIterator<Item = Subject>,
        containers: impl IntoIterator<Item = (Subject, &'a [Subject])>,
    ) -> (Self, Vec<(Subject, Subject)>, Vec<Vec<Subject>>) {
        let mut this = Self::default();
        this.number(Subject::Any); // EVERYBODY
        for subject in subjects {
            this.number(subject);
        }
        let containers: Vec<(Id, &[Subject])> =
            containers.into_iter().map(|(name, members)| (this.number(name), members)).collect();
        let mut edges = Vec::new();
        let mut unknown = Vec::new();
        for (container, members) in containers {
            for member in members {
                match this.id(member) {
                    Some(id) => edges.push((id, container)),
                    None => unknown.push((this.subject(container), member.clone())),
                }
            }
        }
        let cycles = this.surround(edges);
        (this, unknown, cycles)
    }

    /// The number of a subject. Mandants need no section, so each name that is asked for is one.
    pub(super) fn id(&mut self, subject: &Subject) -> Option<Id> {
        match self.ids.get(subject) {
            Some(&id) => Some(id),
            None if matches!(subject, Subject::Mandant(_)) => Some(self.number(subject.clone())),
            None => None,
        }
    }

    /// The list of these numbers.
    pub(super) fn list(mut ids: Vec<Id>) -> SubjectList {
        ids.sort_unstable();
        ids.dedup();
        SubjectList(ids.into())
    }

    /// Ends the numbering; from now on it is only read.
    pub(super) fn finish(mut self) -> Self {
        self.any_mandant = self.circle(self.mandants.values().copied());
        self.ids = HashMap::new();
        self
    }

    /// The subjects with these numbers, without `*`.
    pub(super) fn subjects(&self, ids: &[Id]) -> Vec<Subject> {
        ids.iter().filter(|id| **id != EVERYBODY).map(|&id| self.subject(id)).collect()
    }

    /// These subjects and everything that they are part of, sorted.
    pub(super) fn circle(&self, ids: impl IntoIterator<Item = Id>) -> Vec<Id> {
        let mut circle = Vec::new();
        for id in ids {
            circle.push(id);
            circle.extend_from_slice(self.around.get(id as usize).map_or(&[], |around| around));
        }
        circle.sort_unstable();
        circle.dedup();
        circle
    }

    /// The number of a mandant that some rule names.
    pub(super) fn mandant(&self, name: &str) -> Option<Id> {
        self.mandants.get(name).copied()
    }

    /// All mandants and what they are part of, sorted.
    pub(super) fn any_mandant(&self) -> &[Id] {
        &self.any_mandant
    }

    fn number(&mut self, subject: Subject) -> Id {
        let id = self.subjects.len() as Id;
        if let Subject::Mandant(name) = &subject {
            self.mandants.insert(name.clone(), id);
        }
        self.ids.insert(subject.clone(), id);
        self.subjects.push(subject);
        self.around.push(Arc::default());
        id
    }

    fn subject(&self, id: Id) -> Subject {
        self.subjects.get(id as usize).cloned().unwrap_or(Subject::Any)
    }

    /// Fills `around` from pairs of member and container, outermost containers first (Kahn). No
    /// recursion: a long chain must not overflow the stack. Gives back the cycles.
    fn surround(&mut self, mut edges: Vec<(Id, Id)>) -> Vec<Vec<Subject>> {
        edges.sort_unstable();
        edges.dedup();
        let mut containers: Vec<Vec<Id>> = vec![Vec::new(); self.subjects.len()];
        let mut members = containers.clone();
        for (member, container) in edges {
            containers[member as usize].push(container);
            members[container as usize].push(member);
        }
        let mut open: Vec<usize> = containers.iter().map(Vec::len).collect();
        let mut ready: Vec<Id> =
            (0..open.len()).filter(|&at| open[at] == 0).map(|at| at as Id).collect();
        let mut shared: HashMap<&[Id], Arc<[Id]>> = HashMap::new();
        while let Some(id) = ready.pop() {
            let direct = &*containers[id as usize];
            let around = match shared.get(direct) {
                Some(around) => Arc::clone(around),
                None => self.circle(direct.iter().copied()).into(),
            };
            shared.entry(direct).or_insert_with(|| Arc::clone(&around));
            self.around[id as usize] = around;
            for &member in &members[id as usize] {
                open[member as usize] -= 1;
                if open[member as usize] == 0 {
                    ready.push(member);
                }
            }
        }
        self.cycles(&containers, &open)
    }

    /// A subject that is still open has an open container, so going outwards leads into a cycle.
    fn cycles(&self, containers: &[Vec<Id>], open: &[usize]) -> Vec<Vec<Subject>> {
        let mut cycles = Vec::new();
        let mut walked_in: Vec<Option<usize>> = vec![None; open.len()];
        for start in (0..open.len()).filter(|&at| open[at] > 0) {
            let (mut walk, mut at) = (Vec::new(), start);
            while walked_in[at].is_none() {
                walked_in[at] = Some(start);
                walk.push(at as Id);
                let outwards = containers[at].iter().map(|&id| id as usize);
                at = outwards.into_iter().find(|&id| open[id] > 0).unwrap_or(at);
            }
            if walked_in[at] != Some(start) {
                continue;
            }
            let mut cycle: Vec<Id> = walk.into_iter().skip_while(|&id| id as usize != at).collect();
            cycle.reverse();
            let first = cycle.iter().enumerate().min_by_key(|(_, id)| **id).map_or(0, |(at, _)| at);
            cycle.rotate_left(first);
            cycle.extend(cycle.first().copied());
            cycles.push(cycle.into_iter().map(|id| self.subject(id)).collect());
        }
        cycles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> Subject {
        Subject::Group(name.into())
    }

    type Cycles = Vec<Vec<String>>;

    fn build(containers: &[(&str, &[&str])]) -> (Membership, Cycles) {
        let lists: Vec<(Subject, Vec<Subject>)> = containers
            .iter()
            .map(|(name, members)| {
                (name.parse().unwrap(), members.iter().map(|m| m.parse().unwrap()).collect())
            })
            .collect();
        let users = ["anna", "bert"].map(|name| Subject::User(name.into()));
        let borrowed = lists.iter().map(|(name, members)| (name.clone(), members.as_slice()));
        let (membership, unknown, cycles) = Membership::new(users, borrowed);
        assert_eq!(unknown, []);
        let text = cycles.iter().map(|c| c.iter().map(Subject::to_string).collect()).collect();
        (membership, text)
    }

    fn is_in(membership: &mut Membership, who: &str, container: &str) -> bool {
        let who = membership.id(&who.parse().unwrap()).unwrap();
        let container = membership.id(&container.parse().unwrap()).unwrap();
        membership.circle([who]).contains(&container)
    }

    #[test]
    fn membership_goes_through_any_depth_and_only_outwards() {
        let (mut membership, cycles) = build(&[
            ("group:a", &["user:anna", "mandant:M1"]),
            ("group:b", &["group:a", "group:a"]),
            ("department:c", &["group:b", "user:bert", "group:a"]),
        ]);
        assert_eq!(cycles, Cycles::new());
        let table = [
            ("user:anna", "group:a", true),
            ("user:anna", "department:c", true),
            ("mandant:M1", "department:c", true),
            ("mandant:M2", "department:c", false),
            ("user:bert", "group:a", false),
            ("user:bert", "department:c", true),
            ("department:c", "group:a", false),
            ("*", "group:a", false),
        ];
        for (who, container, expected) in table {
            assert_eq!(is_in(&mut membership, who, container), expected, "{who} in {container}");
        }
    }

    #[test]
    fn a_group_with_everybody_in_it_makes_everybody_a_member() {
        let (mut membership, _) = build(&[("group:a", &["*"]), ("group:b", &["group:a"])]);
        assert!(is_in(&mut membership, "*", "group:b"));
    }

    #[test]
    fn each_cycle_is_named_once_and_what_hangs_on_it_is_not() {
        let (_, cycles) = build(&[
            ("group:a", &["group:c", "user:anna"]),
            ("group:b", &["group:a"]),
            ("group:c", &["group:b", "group:inner"]),
            ("group:inner", &["user:bert"]),
            ("group:outer", &["group:a"]),
            ("group:self", &["group:self"]),
        ]);
        let expected: [&[&str]; 2] =
            [&["group:a", "group:c", "group:b", "group:a"], &["group:self", "group:self"]];
        assert_eq!(cycles, expected);
    }

    #[test]
    fn a_chain_of_thousands_is_no_problem() {
        let names: Vec<Subject> = (0..2_000).map(|n| group(&n.to_string())).collect();
        let lists: Vec<Vec<Subject>> =
            (0..2_000).map(|n| names.get(n + 1).cloned().into_iter().collect()).collect();
        let containers = names.iter().cloned().zip(lists.iter().map(Vec::as_slice));
        let (mut membership, _, cycles) = Membership::new([], containers);
        assert!(cycles.is_empty());
        assert!(is_in(&mut membership, "group:1999", "group:0"));
    }

    #[test]
    fn unknown_members_come_back() {
        let members = [group("b"), Subject::Mandant("M".into())];
        let (_, unknown, _) = Membership::new([], [(group("a"), members.as_slice())]);
        assert_eq!(unknown, [(group("a"), group("b"))]);
    }

    #[test]
    fn lists_are_compared_from_the_shorter_side() {
        let long = Membership::list((0..1000).rev().collect());
        assert!(long.names_one_of(&[5000, 999]));
        assert!(!long.names_one_of(&[1000]));
        assert!(!long.names_one_of(&[]));
        let short = Membership::list(vec![7, 7]);
        assert!(short.names_one_of(&(0..100).collect::<Vec<_>>()));
        assert!(!SubjectList::default().names_one_of(&[0]));
    }
}
