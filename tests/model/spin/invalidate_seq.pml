/*
 * InvalidateSeq with the page lock (mmu/invalidate_seq.hpp, fault.cpp): a fault against two invalidators of its page.
 * Sequentially consistent: the order of the steps, not of memory, which relacy checks.
 *
 * I20  at no step is a page mapped that has been freed
 * I22  the sequence moves before the count drops
 */
#define FAULTS 2
#define RANGES 2

byte count;
byte sequence;
byte page = 1; /* which host page is behind the address; older ones have been freed */
byte mapped;   /* the secondary MMU's entry; 0: none */
bool locked;

proctype Fault() {
  byte round, snapshot, resolved, progress;
  do
  :: round < FAULTS ->
    round++;
#ifndef SNAPSHOT_AFTER_RESOLVING
    snapshot = sequence;
#endif
    resolved = page;
#ifdef SNAPSHOT_AFTER_RESOLVING
    snapshot = sequence;
#endif
#ifdef CHECK_BEFORE_THE_LOCK
    progress = count;
#endif
    atomic { !locked -> locked = true };
#ifndef CHECK_BEFORE_THE_LOCK
    progress = count;
#endif
    if
    :: progress == 0 && sequence == snapshot -> mapped = resolved
    :: else
    fi;
    locked = false
  :: else -> break
  od
}

proctype Invalidator() {
  byte round;
  do
  :: round < RANGES ->
    round++;
#ifdef A_FLAG_FOR_A_COUNT
    count = 1;
#else
    count++;
#endif
#ifndef LOCKED_PAGES_ARE_NOT_WAITED_FOR
    !locked;
#endif
    mapped = 0;
    page++; /* and the old one is freed */
#ifdef SEQUENCE_AFTER_THE_COUNT
    count--;
    sequence++
#else
    sequence++;
#ifdef A_FLAG_FOR_A_COUNT
    count = 0
#else
    count--
#endif
#endif
  :: else -> break
  od
}

active proctype Guest() {
end:
  assert(mapped == 0 || mapped == page)
}

init {
  atomic {
    run Fault();
    run Invalidator();
    run Invalidator()
  }
}
