"""The score-attack laboratory: attackers against release rules, on every kind of problem."""
