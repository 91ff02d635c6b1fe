// Simulation model of an SDR SDRAM with words of 16 bits: it holds data, and checks what it is asked.
//
// Timing is checked in picoseconds from the data sheet's figures and the period of the clock. The
// first broken rule is kept in `violation`, as its number in RULES below. Bursts are sequential,
// of the mode register's length, and never cut short: doing so counts as a violation here, as does
// everything else that Celosia's controller has no business with (auto precharge, power-down).
// A word that is not driven reads as noise.
//
// `doing` says what the part spends the cycle on: 1 a word of a burst; 2 refreshes, from closing
// the rows to the end of the last one; 3 closing or opening rows, and no word meanwhile; 0 nothing.
//
// RULES: 1 power-up is over before the first command; 2 initialisation in order (PRECHARGE of all
// banks, two refreshes, mode register); 3 mode register's timing and contents; 4 tRCD; 5 tRAS, and
// its maximum; 6 tRC; 7 tRRD; 8 tRP; 9 tWR; 10 tRFC; 11 no refresh, or mode, with an open row;
// 12 READ or WRITE of a closed row; 13 ACTIVATE of an open row; 14 a burst is cut; 15 all rows are
// refreshed in each window; 16 no longer than GAP_PS without a refresh; 17 both sides drive the
// data, or turn around without a cycle between; 18 nobody drives what is written; 19 unused command;
// 20 clock or chip disabled.

module sdram_model #(
    parameter ROW_BITS = 13,
    COLUMN_BITS = 9,
    PERIOD_PS = 10000,
    RCD_PS = 0, RAS_PS = 0, RC_PS = 0, RRD_PS = 0, RP_PS = 0, WR_PS = 0, RFC_PS = 0,
    RAS_MOST_NS = 100000, POWER_UP_NS = 200000, WINDOW_NS = 64000000, GAP_PS = 0, REFRESHES = 8192,
    INVERTED = 0,  // the part takes its commands on the falling edge
    DELAY = 0      // cycles more that its data takes to arrive, up to 3
) (
    input clk,
    input rst,  // power is cut: nothing but the data is left
    input clk_en, cs, ras, cas, we,
    input [1:0] ba,
    input [(ROW_BITS > 11 ? ROW_BITS : 11) - 1:0] a,
    input [1:0] dqm,
    input [15:0] dq_o,
    input dq_oe,
    output reg [15:0] dq_i,
    output reg [7:0] violation,
    output reg [31:0] words, refreshed,
    output reg [1:0] doing
);
    /* verilator lint_off BLKSEQ */
    localparam SIZE = 1 << (ROW_BITS + COLUMN_BITS + 2);
    localparam [63:0] WINDOW = 64'd1000 * WINDOW_NS;
    localparam [63:0] POWER_UP = 64'd1000 * POWER_UP_NS;
    localparam [63:0] RAS_MOST = 64'd1000 * RAS_MOST_NS;
    reg [15:0] memory [0:SIZE-1];
    reg [63:0] cycle, past_mode, past_refresh, past_activate_any;
    reg [63:0] past_activate [0:3], past_precharge [0:3], past_written [0:3];
    reg [63:0] history [0:REFRESHES-1];
    reg [31:0] head;
    reg [3:0] open;
    reg [ROW_BITS-1:0] row [0:3];
    reg precharged, ready;
    reg [2:0] latency;
    reg [3:0] length, left;
    reg writing, was_driven, upkeep, rows_move;
    reg [1:0] bank;
    reg [COLUMN_BITS-1:0] column, wrap;
    reg [15:0] noise;
    // Words on their way out: [0] is driven from this edge to the next.
    reg [15:0] out [0:3];
    reg [3:0] out_valid;
    reg [1:0] mask_before;
    reg [15:0] arriving [0:3];
    reg [ROW_BITS+COLUMN_BITS+1:0] place;
    integer n;

    wire clock = clk ^ (INVERTED != 0);
    wire [2:0] command = {ras, cas, we};

    function automatic bit early(input [63:0] past, input [63:0] least);
        early = past != 0 && (cycle - past) * PERIOD_PS < least;
    endfunction

    task automatic broken(input [7:0] rule);
        if (violation == 0) begin
            violation = rule;
            $display("SDRAM: rule %0d broken in cycle %0d", rule, cycle);
        end
    endtask

    task power_on;
    begin
        violation = 0; words = 0; refreshed = 0;
        cycle = 1; past_mode = 0; past_refresh = 0; past_activate_any = 0; head = 0; open = 0;
        precharged = 0; ready = 0; latency = 0; length = 0; left = 0; writing = 0; out_valid = 0;
        was_driven = 0; upkeep = 0; rows_move = 0; doing = 0; bank = 0; column = 0; wrap = 0; noise = 16'hBEEF; mask_before = 0;
        for (n = 0; n < 4; n = n + 1) begin
            past_activate[n] = 0; past_precharge[n] = 0; past_written[n] = 0; row[n] = 0;
            out[n] = 0; arriving[n] = 0;
        end
    end
    endtask

    initial begin
        power_on;
        for (n = 0; n < SIZE; n = n + 1) memory[n] = 16'h5A5A ^ n[15:0];
    end

    always @(posedge clock) begin
        if (rst) power_on; else begin
        cycle = cycle + 1;
        noise = {noise[14:0], noise[15] ^ noise[13] ^ noise[12] ^ noise[10]};

        // The bus: what was driven till this edge, and by whom.
        if (dq_oe && (out_valid[0] || was_driven)) broken(17);
        was_driven = out_valid[0];
        // A word leaves; it is masked two cycles before it is taken.
        for (n = 0; n < 3; n = n + 1) out[n] = out[n+1];
        out_valid = out_valid >> 1;

        if (ready && (!clk_en || !cs)) broken(20);
        if (command != 0 && cs) begin
            if (cycle * PERIOD_PS < POWER_UP || !clk_en) broken(1);
            if (early(past_refresh, RFC_PS)) broken(10);
            if (past_mode != 0 && cycle - past_mode < 2) broken(3);
        end
        if (cs) case (command)
            3'b000: ;
            3'b100: begin
                if (!ready) broken(2);
                if (open[ba]) broken(13);
                if (early(past_activate[ba], RC_PS)) broken(6);
                if (early(past_activate_any, RRD_PS)) broken(7);
                if (early(past_precharge[ba], RP_PS)) broken(8);
                open[ba] = 1;
                row[ba] = a[ROW_BITS-1:0];
                past_activate[ba] = cycle;
                past_activate_any = cycle;
            end
            3'b101: begin
                for (n = 0; n < 4; n = n + 1) if (a[10] || ba == n[1:0]) begin
                    if (open[n] && early(past_activate[n], RAS_PS)) broken(5);
                    if (early(past_written[n], WR_PS)) broken(9);
                    if (left != 0 && bank == n[1:0]) broken(14);
                    open[n] = 0;
                    past_precharge[n] = cycle;
                end
                if (a[10]) precharged = 1;
            end
            3'b110: begin
                if (!precharged) broken(2);
                if (open != 0) broken(11);
                for (n = 0; n < 4; n = n + 1) begin
                    if (early(past_precharge[n], RP_PS)) broken(8);
                    if (early(past_activate[n], RC_PS)) broken(6);
                end
                past_refresh = cycle;
                history[head] = cycle;
                head = head + 1 == REFRESHES ? 0 : head + 1;
                refreshed = refreshed + 1;
            end
            3'b111: begin
                if (ready || refreshed < 2) broken(2);
                if (open != 0) broken(11);
                for (n = 0; n < 4; n = n + 1) if (early(past_precharge[n], RP_PS)) broken(8);
                if (a[10:7] != 0 || a[3] || a[2] || ba != 0 || (a[6:4] != 2 && a[6:4] != 3)) broken(3);
                latency = a[6:4];
                length = 4'd1 << a[1:0];
                past_mode = cycle;
                ready = 1;
                for (n = 0; n < REFRESHES; n = n + 1) history[n] = cycle;
            end
            3'b010, 3'b011: begin
                if (!open[ba]) broken(12);
                if (early(past_activate[ba], RCD_PS)) broken(4);
                if (left != 0) broken(14);
                if (a[10]) broken(19);
                bank = ba;
                column = a[COLUMN_BITS-1:0];
                wrap = {{(COLUMN_BITS-4){1'b0}}, length - 4'd1};
                left = length;
                writing = we;
            end
            default: broken(19);
        endcase

        // What the cycle is spent on, if not on a word.
        if (command == 3'b101 && cs && a[10]) upkeep = 1;
        else if (past_refresh > past_precharge[0] && !early(past_refresh, RFC_PS)) upkeep = 0;
        rows_move = early(past_activate_any, RCD_PS);
        for (n = 0; n < 4; n = n + 1) rows_move = rows_move || early(past_precharge[n], RP_PS);

        // One word of the burst at hand.
        if (left != 0) begin
            place = {row[bank], bank, column};
            if (writing) begin
                if (!dq_oe) broken(18);
                if (!dqm[0]) memory[place][7:0] = dq_o[7:0];
                if (!dqm[1]) memory[place][15:8] = dq_o[15:8];
                past_written[bank] = cycle;
            end else begin
                out[latency - 1] = memory[place];
                out_valid[latency - 1] = 1;
            end
            column = (column & ~wrap) | ((column + 1) & wrap);
            left = left - 1;
            words = words + 1;
            doing = 1;
        end else if (upkeep) doing = 2;
        else doing = rows_move ? 3 : 0;
        // Masked two cycles ago, by the edge at which the word is taken.
        if (mask_before[0] || mask_before[1]) out_valid[0] = 0;
        mask_before = dqm;
        for (n = 3; n > 0; n = n - 1) arriving[n] = arriving[n-1];
        arriving[0] = out_valid[0] ? out[0] : noise;
        dq_i <= arriving[DELAY];  // others take it at this edge as it was

        if (ready) begin
            if ((cycle - history[head]) * PERIOD_PS > WINDOW) broken(15);
            if ((cycle - past_refresh) * PERIOD_PS > GAP_PS) broken(16);
            for (n = 0; n < 4; n = n + 1)
                if (open[n] && (cycle - past_activate[n]) * PERIOD_PS > RAS_MOST) broken(5);
        end
        end
    end

    // The host's side, in no time and past all rules: files hold bytes in ascending order.
    task load(input integer file, input [31:0] offset, input [31:0] bytes);
        reg [31:0] word;
        integer at, got;
        for (at = 0; at < bytes; at = at + 4) begin
            word = 0;
            got = $fread(word, file);
            memory[(offset + at) >> 1] = {word[23:16], word[31:24]};
            memory[((offset + at) >> 1) + 1] = {word[7:0], word[15:8]};
        end
    endtask

    task dump(input integer file, input [31:0] offset, input [31:0] bytes);
        integer at;
        for (at = 0; at < bytes; at = at + 4)
            $fwrite(file, "%u", {memory[((offset + at) >> 1) + 1], memory[(offset + at) >> 1]});
    endtask
endmodule
