//! Rows in the order of their creation, found by id.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::{error::ApiError, model::Row, params::Params};

pub struct Table<T> {
    rows: VecDeque<T>,
    places: HashMap<String, usize>,
    /// How many rows have been dropped from the front; a place minus this is an index.
    dropped: usize,
    /// Changed since the last journal line.
    dirty: HashSet<String>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table {
            rows: VecDeque::new(),
            places: HashMap::new(),
            dropped: 0,
            dirty: HashSet::new(),
        }
    }
}

impl<T: Row + Clone> Table<T> {
    pub fn get(&self, id: &str) -> Option<&T> {
        self.rows
            .get(self.places.get(id)?.checked_sub(self.dropped)?)
    }

    /// Inserts the row, or replaces the one with its id; it will be in the next journal line.
    pub fn put(&mut self, row: T) {
        self.dirty.insert(row.id().to_owned());
        self.restore(row);
    }

    /// As `put`, from the journal.
    pub fn restore(&mut self, row: T) {
        match self.places.get(row.id()) {
            Some(place) => self.rows[place - self.dropped] = row,
            None => {
                self.places
                    .insert(row.id().to_owned(), self.dropped + self.rows.len());
                self.rows.push_back(row);
            }
        }
    }

    /// The changed rows in order of creation.
    pub fn take_dirty(&mut self) -> Vec<T> {
        let mut places: Vec<usize> = self
            .dirty
            .drain()
            .filter_map(|id| self.places.get(&id).copied())
            .collect();
        places.sort_unstable();
        places
            .into_iter()
            .filter_map(|place| self.rows.get(place - self.dropped).cloned())
            .collect()
    }

    pub fn pop_oldest(&mut self) -> Option<T> {
        let row = self.rows.pop_front()?;
        self.dropped += 1;
        self.places.remove(row.id());
        Some(row)
    }

    /// Drops the rows that are not kept, and says how many those were.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) -> usize {
        let before = self.rows.len();
        self.rows.retain(|row| keep(row));
        self.dropped = 0;
        self.places = (self.rows.iter().enumerate())
            .map(|(place, row)| (row.id().to_owned(), place))
            .collect();
        before - self.rows.len()
    }

    pub fn oldest(&self) -> Option<&T> {
        self.rows.front()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.rows.iter()
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// One page as Stripe gives it: newest first; `starting_after` goes back in time, `ending_before` gives the page
    /// just after its row, so that a reader who keeps the newest id as a cursor misses none.
    pub fn page(
        &self,
        page: &PageParams,
        noun: &str,
        matches: impl Fn(&T) -> bool,
    ) -> Result<(Vec<&T>, bool), Box<ApiError>> {
        let place = |id: &Option<String>, param: &str| match id {
            None => Ok(None),
            Some(id) => match self.places.get(id) {
                Some(place) => Ok(Some(place - self.dropped)),
                None => Err(ApiError::missing(noun, id, param, 400)),
            },
        };
        let wanted = |row: &&T| page.created.contains(row.created()) && matches(row);
        // Rows are in order of time, so a walk back ends where the range does.
        let recent = |row: &&T| row.created() >= page.created.from;
        let mut rows: Vec<&T> = match (
            place(&page.starting_after, "starting_after")?,
            place(&page.ending_before, "ending_before")?,
        ) {
            (_, Some(cursor)) => self
                .rows
                .range(cursor + 1..)
                .filter(wanted)
                .take(page.limit + 1)
                .collect(),
            (Some(cursor), None) => self
                .rows
                .range(..cursor)
                .rev()
                .take_while(recent)
                .filter(wanted)
                .take(page.limit + 1)
                .collect(),
            (None, None) => self
                .rows
                .iter()
                .rev()
                .take_while(recent)
                .filter(wanted)
                .take(page.limit + 1)
                .collect(),
        };
        let has_more = rows.len() > page.limit;
        rows.truncate(page.limit);
        if page.ending_before.is_some() {
            rows.reverse();
        }
        Ok((rows, has_more))
    }
}

pub struct PageParams {
    limit: usize,
    starting_after: Option<String>,
    ending_before: Option<String>,
    created: Range,
}

impl PageParams {
    pub fn take(params: &mut Params) -> Result<PageParams, Box<ApiError>> {
        let limit = params.integer("limit")?.unwrap_or(10);
        if !(1..=100).contains(&limit) {
            return Err(ApiError::invalid(
                Some("parameter_invalid_integer"),
                "limit",
                "limit must be between 1 and 100",
            ));
        }
        let page = PageParams {
            limit: limit as usize,
            starting_after: params.text("starting_after")?,
            ending_before: params.text("ending_before")?,
            created: Range::take(params)?,
        };
        if page.starting_after.is_some() && page.ending_before.is_some() {
            let message =
                "You may only specify one of these parameters: starting_after, ending_before";
            return Err(ApiError::invalid(None, "starting_after", message));
        }
        Ok(page)
    }
}

struct Range {
    from: i64,
    to: i64,
}

impl Range {
    fn take(params: &mut Params) -> Result<Range, Box<ApiError>> {
        let Ok(mut bounds) = params.object("created") else {
            // `created=1700000000` asks for that second.
            return Err(ApiError::invalid(
                None,
                "created",
                "Give created[gte], created[gt], created[lte] or created[lt]",
            ));
        };
        let mut range = Range {
            from: i64::MIN,
            to: i64::MAX,
        };
        range.from = bounds.integer("gte")?.unwrap_or(range.from);
        range.from = bounds
            .integer("gt")?
            .map_or(range.from, |t| range.from.max(t.saturating_add(1)));
        range.to = bounds.integer("lte")?.unwrap_or(range.to);
        range.to = bounds
            .integer("lt")?
            .map_or(range.to, |t| range.to.min(t.saturating_sub(1)));
        bounds.finish()?;
        Ok(range)
    }

    fn contains(&self, at: i64) -> bool {
        (self.from..=self.to).contains(&at)
    }
}
