"""The tamper laboratory: every way we know to falsify a record, tried on copies of a real study.

```
Specimen   a study as it is: entries, files, the keys that can be read
Forgery    a copy in memory that an attack alters, signs again where it has the keys, and writes down
attack     (Forgery, Random) -> the first index that the verifier must name; its code stands in the table
```
What an attack alters is found by the verifier that everybody uses, or it is listed as what nobody can see.
"""
