/*
 * The notifier chain (mmu/notifier.cpp): ranges of two threads, nested and refused ones among them, against a
 * subscriber that registers and unregisters. Sequentially consistent; what memory orders matter is relacy's business.
 *
 * I18  exactly those that were started are ended, each once
 * I19  whoever is registered is told of every range before it changes anything, and of the outer one before the nested
 *      one; start and end see the same list
 * I22  the count of ranges in progress is never negative, and is zero at rest
 * I23  no callback after unregister_notifier() has returned
 * and nobody waits for ever: spin reports that as an invalid end state.
 */
#define THREADS 2
#define ROUNDS 2
#define VISITS 2

#define permanent 0 /* subscribed from the beginning */
#define visitor 1
#define bit(s) (1 << (s))

byte ranges;         /* the gate's: ranges that are past it */
byte registrations;  /* the gate's: closed while not 0 */
byte list = bit(permanent);
byte sections[THREADS]; /* SRCU: read sections of each thread, which nest */
byte epoch[THREADS];    /* changes when a thread enters its outermost section */
byte depth[THREADS];    /* ranges in progress of each thread */
byte count;             /* InvalidateSeq's */
bool dead[2];           /* a subscriber that is gone */
bool uses;              /* the visitor holds translations */
byte open_0[THREADS];   /* ranges that each subscriber was told of and that have not ended */
byte open_1[THREADS];

inline told(s, t) {
  d_step {
    assert(!dead[s]);
    if
    :: s == permanent -> open_0[t]++; assert(open_0[t] == depth[t])
    :: else -> open_1[t]++; assert(open_1[t] == depth[t])
    fi
  }
}

inline ended(s, t) {
  d_step {
    assert(!dead[s]);
    if
    :: s == permanent -> assert(open_0[t] > 0); open_0[t]--
    :: else -> assert(open_1[t] > 0); open_1[t]--
    fi
  }
}

inline start(t, seen, may_refuse, refused) {
#ifdef NESTED_RANGES_QUEUE_UP
  atomic { registrations == 0 -> ranges++; depth[t]++ };
#else
  atomic { registrations == 0 || depth[t] > 0 -> ranges++; depth[t]++ };
#endif
  d_step {
    if
    :: sections[t] == 0 -> epoch[t]++
    :: else
    fi;
    sections[t]++
  };
  seen = list;
  count++;
  refused = false;
  if
  :: may_refuse -> refused = true; /* the permanent one comes first in the list */
#ifdef END_FOR_THOSE_NOT_STARTED
    ended(permanent, t)
#endif
  :: told(permanent, t)
  fi;
  if
  :: !refused && (seen & bit(visitor)) ->
    if
    :: may_refuse ->
      refused = true;
#ifdef END_FOR_THOSE_NOT_STARTED
      ended(visitor, t);
#endif
#ifndef NO_END_AFTER_A_REFUSAL
      ended(permanent, t)
#endif
    :: told(visitor, t)
    fi
  :: else
  fi;
  if
  :: refused -> leave(t)
  :: else
  fi
}

inline leave(t) {
  atomic { assert(count > 0); count-- };
  sections[t]--;
  atomic { assert(ranges > 0); ranges--; depth[t]-- }
}

inline end(t, seen) {
#ifdef END_READS_THE_LIST_AGAIN
  seen = list;
#endif
  ended(permanent, t);
  if
  :: seen & bit(visitor) -> ended(visitor, t)
  :: else
  fi;
  leave(t)
}

/* Whoever uses translations has been told, by each thread that changes what they mean. */
inline change(t) { assert(!uses || open_1[t] > 0) }

proctype Range(byte t) {
  byte round, outer, inner;
  bool refused, refusable;
  do
  :: round < ROUNDS ->
    round++;
    if
    :: refusable = true
    :: refusable = false
    fi;
    start(t, outer, refusable, refused);
    if
    :: refused
    :: else ->
      change(t);
      if
      :: t == 0 -> /* one thread nests */
        start(t, inner, false, refused);
        change(t);
        end(t, inner)
      :: else
      fi;
      end(t, outer)
    fi
  :: else -> break
  od;
  assert(open_0[t] == 0 && open_1[t] == 0)
}

/* Waits until every section has ended that exists now. */
inline synchronize(i, before) {
  i = 0;
  do
  :: i < THREADS ->
    before = epoch[i];
    sections[i] == 0 || epoch[i] != before;
    i++
  :: else -> break
  od
}

proctype Visitor() {
  byte visit, i, before;
  do
  :: visit < VISITS ->
    visit++;
    dead[visitor] = false; /* a new object */
#ifndef REGISTER_WITHOUT_GATE
    registrations++;
    ranges == 0;
#endif
    list = list | bit(visitor);
    synchronize(i, before);
#ifndef REGISTER_WITHOUT_GATE
    registrations--;
#endif
    uses = true;
    uses = false; /* as it must before it leaves */
    list = list & ~bit(visitor);
#ifndef UNREGISTER_WITHOUT_GRACE_PERIOD
    synchronize(i, before);
#endif
    dead[visitor] = true
  :: else -> break
  od
}

init {
  atomic {
    run Range(0);
    run Range(1);
    run Visitor()
  };
  _nr_pr == 1;
  assert(count == 0 && ranges == 0 && registrations == 0)
}
