package keysort

// radixFrom is the number of keys from which counting bytes is cheaper than comparing heads.
const radixFrom = 128

// radix sorts ranks by head with the memory of spare, which is as long: one pass for each
// byte in which heads differ.
func radix(ranks, spare []Ranked) {
	var counts [8][256]uint32
	for i := range ranks {
		h := ranks[i].head
		for d := range counts {
			counts[d][byte(h>>(8*d))]++
		}
	}
	from, to := ranks, spare
	for d := range counts {
		c := &counts[d]
		if c[byte(from[0].head>>(8*d))] == uint32(len(from)) {
			continue
		}
		var sum uint32
		for i := range c {
			c[i], sum = sum, sum+c[i]
		}
		for i := range from {
			b := byte(from[i].head >> (8 * d))
			to[c[b]] = from[i]
			c[b]++
		}
		from, to = to, from
	}
	if &from[0] != &ranks[0] {
		copy(ranks, from)
	}
}
