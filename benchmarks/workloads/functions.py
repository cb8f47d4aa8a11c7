"""The functions that every system calls: the work itself is the same for all."""


def double(x: int) -> int:
    return x * 2


def third(x: int) -> bool:
    return x % 3 == 0


def increment(x: int) -> int:
    return x + 1


def add(total: int, x: int) -> int:
    return total + x


def risky(x: int) -> int:
    if x % 10 == 0:
        raise ValueError(x)
    return x + 1


async def increment_soon(x: int) -> int:
    """A coroutine function that doesn't wait: what is left is the cost of the pool around it."""
    return x + 1
