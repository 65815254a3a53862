"""Why a pair got its verdict: in words, in numbers and as a picture."""
